//! `lookup_json_string` and `lookup_json_integer`.

use serde_json::Value;

use super::value::MAX_LENGTH;

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The member of an object with this name.
    Member(String),
    /// The element of an array at this position.
    Element(usize),
}

/// The string that `path` leads to. Documents longer than [`MAX_LENGTH`] are not read.
pub(super) fn string(document: &[u8], path: &[Step]) -> Option<Vec<u8>> {
    match lookup(document, path)? {
        Value::String(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// The integer that `path` leads to; `42.0` is none.
pub(super) fn integer(document: &[u8], path: &[Step]) -> Option<i64> {
    lookup(document, path)?.as_i64()
}

fn lookup(document: &[u8], path: &[Step]) -> Option<Value> {
    if document.len() > MAX_LENGTH {
        return None;
    }
    // serde_json bounds how deep documents nest.
    let mut value: Value = serde_json::from_slice(document).ok()?;
    for step in path {
        let found = match step {
            Step::Member(name) => value.get_mut(name.as_str()),
            Step::Element(position) => value.get_mut(*position),
        };
        value = found?.take();
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Step {
        Step::Member(name.to_owned())
    }

    #[test]
    fn a_path_leads_to_a_string() {
        for (document, path, expected) in [
            (
                r#"{"company":"cloudflare","product":"rulesets"}"#,
                vec![member("company")],
                Some("cloudflare"),
            ),
            (
                r#"{"network":{"name":"cloudflare"}}"#,
                vec![member("network"), member("name")],
                Some("cloudflare"),
            ),
            (
                r#"["other","cloudflare"]"#,
                vec![Step::Element(1)],
                Some("cloudflare"),
            ),
            (
                r#"[{"a":"x"},{"a":"y"}]"#,
                vec![Step::Element(1), member("a")],
                Some("y"),
            ),
            (r#"{"a":1}"#, vec![member("a")], None),
            (r#"{"a":"x"}"#, vec![member("b")], None),
            (r#"{"0":"x"}"#, vec![Step::Element(0)], None),
            (r#"{"a":"x""#, vec![member("a")], None),
            ("", vec![member("a")], None),
        ] {
            let found = string(document.as_bytes(), &path);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{document}");
        }
    }

    #[test]
    fn a_path_leads_to_an_integer() {
        for (document, path, expected) in [
            (
                r#"{"record_id":"aed53a","version":2}"#,
                vec![member("version")],
                Some(2),
            ),
            (r#"["first_item",-234]"#, vec![Step::Element(1)], Some(-234)),
            (r#"{"a":42.0}"#, vec![member("a")], None),
            (r#"{"a":"2"}"#, vec![member("a")], None),
            (r#"{"a":18446744073709551615}"#, vec![member("a")], None),
        ] {
            assert_eq!(integer(document.as_bytes(), &path), expected, "{document}");
        }
    }

    #[test]
    fn a_document_which_is_deep_or_long_has_no_value() {
        let deep = "[".repeat(100_000);
        assert_eq!(integer(deep.as_bytes(), &[Step::Element(0)]), None);
        let long = format!("[1,\"{}\"]", "a".repeat(MAX_LENGTH));
        assert_eq!(integer(long.as_bytes(), &[Step::Element(0)]), None);
    }
}
