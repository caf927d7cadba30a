//! Changes of single Cache-Control directives (RFC 9111 §5.2), the others left as they are.

use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};

use super::syntax::{directive, members};

/// Removes every directive that is named, then adds those with a text, such as `max-age=60`.
pub fn edit_cache_control(fields: &mut HeaderMap, edits: &[(&str, Option<String>)]) {
    let named = |name: &[u8]| {
        edits
            .iter()
            .any(|(edited, _)| name.eq_ignore_ascii_case(edited.as_bytes()))
    };
    let mut kept: Vec<Vec<u8>> = fields
        .get_all(CACHE_CONTROL)
        .iter()
        .flat_map(|line| members(line.as_bytes()))
        .filter(|member| !named(directive(member).0))
        .map(<[u8]>::to_vec)
        .collect();
    let added = edits.iter().filter_map(|(_, text)| text.as_ref());
    kept.extend(added.map(|text| text.as_bytes().to_vec()));
    fields.remove(CACHE_CONTROL);
    if let Ok(value) = HeaderValue::from_bytes(&kept.join(&b", "[..]))
        && !kept.is_empty()
    {
        fields.insert(CACHE_CONTROL, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_changes() {
        for (lines, edits, expected) in [
            (
                &["public, max-age=5", "x=\"a, b\""][..],
                &[
                    ("max-age", Some("max-age=60")),
                    ("immutable", Some("immutable")),
                ][..],
                Some("public, x=\"a, b\", max-age=60, immutable"),
            ),
            (&["No-Store"], &[("no-store", None)], None),
            (&[], &[("private", Some("private"))], Some("private")),
            (
                &["private=\"a\", no-cache"],
                &[("private", None)],
                Some("no-cache"),
            ),
        ] {
            let mut fields = HeaderMap::new();
            for line in lines {
                fields.append(CACHE_CONTROL, line.parse().unwrap());
            }
            let edits: Vec<_> = edits
                .iter()
                .map(|(name, text)| (*name, text.map(str::to_owned)))
                .collect();
            edit_cache_control(&mut fields, &edits);
            let found = fields
                .get(CACHE_CONTROL)
                .map(|value| value.to_str().unwrap());
            assert_eq!(found, expected, "{lines:?}");
        }
    }
}
