//! The Vary field and the selecting key made from a request (RFC 9111 §4.1, RFC 9110 §12.5.5).

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY},
};

use super::{accept, accept_encoding::AcceptedCodings, accept_language, syntax};
use crate::cache::settings::{VaryForm, VarySettings};

/// Which request fields select among the responses stored under one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Vary {
    /// None: one response serves every request.
    None,
    /// These fields, sorted and without duplicates.
    Fields(Vec<HeaderName>),
    /// `*`, or something that cannot be a field name: no later request matches.
    Any,
}

impl Vary {
    /// All Vary lines of a response, combined.
    pub fn of(response: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for line in response.get_all(VARY) {
            for member in syntax::members(line.as_bytes()) {
                match HeaderName::from_bytes(member) {
                    // `*` is a token and would pass for a name (RFC 9111 §4.1).
                    Ok(name) if name.as_str() != "*" => names.push(name),
                    _ => return Self::Any,
                }
            }
        }
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        if names.is_empty() {
            Self::None
        } else {
            Self::Fields(names)
        }
    }

    /// Whether the response's Vary is [`Vary::Any`]; cheaper than to read it.
    pub fn is_any(response: &HeaderMap) -> bool {
        response
            .get_all(VARY)
            .iter()
            .flat_map(|line| syntax::members(line.as_bytes()))
            .any(|member| member == b"*" || !syntax::is_token(member))
    }

    /// Whether the settings keep a response with this Vary out of the store.
    pub fn is_bypassed(&self, settings: &VarySettings) -> bool {
        match self {
            Self::None | Self::Any => false,
            Self::Fields(names) => names
                .iter()
                .any(|name| *settings.form_of(name) == VaryForm::Bypass),
        }
    }

    /// The selecting key of a request; `None` when nothing can match. Two requests select the
    /// same stored response when their keys are equal bytes.
    pub fn selecting_key(&self, request: &HeaderMap, settings: &VarySettings) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        self.write_selecting_key(request, settings, &mut key)
            .then_some(key)
    }

    /// Appends the selecting key to `out`; false, and nothing appended, when nothing can match.
    pub fn write_selecting_key(
        &self,
        request: &HeaderMap,
        settings: &VarySettings,
        out: &mut Vec<u8>,
    ) -> bool {
        match self {
            Self::None => true,
            Self::Any => false,
            Self::Fields(names) => {
                for name in names {
                    write_field(name, request, settings, out);
                }
                true
            }
        }
    }

    /// The selecting key with a language in the place of Accept-Language. That of a stored
    /// response, made from the request it answered and from [`content_language`], equals that of
    /// a later request, made with its
    /// [`first_choice`](super::accept_language::first_choice), when the response is in the language
    /// that the client wants most. `None` where the settings do not select in this way or the
    /// response does not vary by language.
    pub fn language_key(
        &self,
        request: &HeaderMap,
        language: &[u8],
        settings: &VarySettings,
    ) -> Option<Vec<u8>> {
        let Self::Fields(names) = self else {
            return None;
        };
        let normalized = *settings.form_of(&ACCEPT_LANGUAGE) == VaryForm::Normalize;
        if !normalized || !names.contains(&ACCEPT_LANGUAGE) {
            return None;
        }
        let mut key = Vec::new();
        for name in names {
            if *name == ACCEPT_LANGUAGE {
                write_framed(name, &mut key, |key| {
                    key.extend(language.iter().map(u8::to_ascii_lowercase));
                });
            } else {
                write_field(name, request, settings, &mut key);
            }
        }
        Some(key)
    }
}

/// The fields that the origin gets in a form of their own with a request whose answer may be stored:
/// what the selecting key is made of. All others it gets as the client sent them.
pub fn forwarded_fields(
    request: &HeaderMap,
    settings: &VarySettings,
) -> Vec<(HeaderName, HeaderValue)> {
    let own = settings.fields.iter().map(|(name, _)| name);
    own.filter(|name| **name != ACCEPT_ENCODING)
        .chain([&ACCEPT_ENCODING])
        .filter_map(|name| {
            let mut value = Vec::new();
            let formed = write_form(name, request, settings, &mut value);
            // Made of bytes of valid values.
            let value = formed.then(|| HeaderValue::from_bytes(&value).ok())??;
            Some((name.clone(), value))
        })
        .collect()
}

/// The one language of a response, as it is written; `None` for several or none.
pub fn content_language(response: &HeaderMap) -> Option<&[u8]> {
    let mut languages = response
        .get_all(header::CONTENT_LANGUAGE)
        .iter()
        .flat_map(|line| syntax::members(line.as_bytes()));
    match (languages.next(), languages.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

/// One field in the form in which it counts.
fn write_field(name: &HeaderName, request: &HeaderMap, settings: &VarySettings, out: &mut Vec<u8>) {
    // The best of several stands for a field that is absent as well.
    let chosen = matches!(settings.form_of(name), VaryForm::Best(_));
    if chosen || request.contains_key(name) {
        write_framed(name, out, |out| {
            if write_form(name, request, settings, out) {
            } else if is_list(name) {
                write_list(name, request, out);
            } else {
                write_lines(name, request, out);
            }
        });
    } else {
        write_name(name, out);
        out.push(ABSENT);
    }
}

/// One field as: length and bytes of its name, then `ABSENT`, or `PRESENT` with length and bytes
/// of its value. Lengths are eight bytes, so fields cannot run into one another.
fn write_framed(name: &HeaderName, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    write_name(name, out);
    out.push(PRESENT);
    let start = out.len();
    out.extend_from_slice(&framed_length(0));
    let value = out.len();
    write(out);
    let length = framed_length(out.len() - value);
    if let Some(placeholder) = out.get_mut(start..value) {
        placeholder.copy_from_slice(&length);
    }
}

fn write_name(name: &HeaderName, out: &mut Vec<u8>) {
    out.extend_from_slice(&framed_length(name.as_str().len()));
    out.extend_from_slice(name.as_str().as_bytes());
}

/// The fields of a request that selects by this key, where nothing but such fields is in it. That it does
/// is for who has the settings to check: a form that a field was brought into need not be its own.
pub fn requested(key: &[u8]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut fields = Vec::new();
    let mut rest = key;
    while !rest.is_empty() {
        let name = HeaderName::from_bytes(read_framed(&mut rest)?).ok()?;
        let (present, after) = rest.split_first()?;
        rest = after;
        if *present == PRESENT {
            for line in read_framed(&mut rest)?.split(|byte| *byte == b'\n') {
                fields.push((name.clone(), HeaderValue::from_bytes(line).ok()?));
            }
        }
    }
    Some(fields)
}

/// What the next eight bytes say the length of.
fn read_framed<'k>(rest: &mut &'k [u8]) -> Option<&'k [u8]> {
    let (length, after) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    let (read, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(read)
}

fn framed_length(length: usize) -> [u8; 8] {
    (length as u64).to_be_bytes()
}

/// Appends the form of its own that a field has by the settings; false, and nothing appended, where
/// it counts as it is sent.
fn write_form(
    name: &HeaderName,
    request: &HeaderMap,
    settings: &VarySettings,
    out: &mut Vec<u8>,
) -> bool {
    match settings.form_of(name) {
        VaryForm::PassThrough | VaryForm::Bypass => false,
        VaryForm::Best(choices) => {
            let best = if *name == ACCEPT {
                accept::best_of(request, choices)
            } else {
                accept_language::best_of(request, choices)
            };
            out.extend_from_slice(best.as_bytes());
            true
        }
        VaryForm::Normalize if !request.contains_key(name) => false,
        VaryForm::Normalize => {
            if *name == ACCEPT_ENCODING {
                if let Some(codings) = AcceptedCodings::of(request) {
                    codings.write(out);
                }
            } else if *name == ACCEPT_LANGUAGE {
                accept_language::write_normalized(request, out);
            } else if *name == ACCEPT {
                accept::write_normalized(request, out);
            } else {
                write_members(name, request, out);
            }
            true
        }
    }
}

/// All members in lower case and in order, each once.
fn write_members(name: &HeaderName, request: &HeaderMap, out: &mut Vec<u8>) {
    let mut members: Vec<Vec<u8>> = request
        .get_all(name)
        .iter()
        .flat_map(|line| syntax::members(line.as_bytes()))
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    members.sort_unstable();
    members.dedup();
    out.extend_from_slice(&members.join(&b','));
}

/// RFC 9111 §4.1: lines may be combined and whitespace normalised where the field's syntax
/// allows it; empty members mean nothing (RFC 9110 §5.6.1). Members are joined by a newline, which
/// no member can contain, so that malformed lines cannot pass for one quoted string.
fn write_list(name: &HeaderName, request: &HeaderMap, value: &mut Vec<u8>) {
    let start = value.len();
    for line in request.get_all(name) {
        for member in syntax::members(line.as_bytes()) {
            if value.len() > start {
                value.push(b'\n');
            }
            value.extend_from_slice(member);
        }
    }
}

/// Lines byte for byte, joined by a newline, which no line can contain.
fn write_lines(name: &HeaderName, request: &HeaderMap, value: &mut Vec<u8>) {
    for (position, line) in request.get_all(name).iter().enumerate() {
        if position > 0 {
            value.push(b'\n');
        }
        value.extend_from_slice(line.as_bytes());
    }
}

/// Whether commas separate members. In the fields named here they may be part of the text.
pub fn is_list(name: &HeaderName) -> bool {
    ![
        header::AUTHORIZATION,
        header::COOKIE,
        header::FROM,
        header::IF_MODIFIED_SINCE,
        header::ORIGIN,
        header::REFERER,
        header::USER_AGENT,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn vary(lines: &[&str]) -> Vary {
        Vary::of(&map(&lines
            .iter()
            .map(|line| ("vary", *line))
            .collect::<Vec<_>>()))
    }

    fn selecting_key(vary: &Vary, request: &[(&'static str, &str)]) -> Option<Vec<u8>> {
        vary.selecting_key(&map(request), &VarySettings::default())
    }

    fn key(line: &str, request: &[(&'static str, &str)]) -> Option<Vec<u8>> {
        selecting_key(&vary(&[line]), request)
    }

    fn formed(name: &'static str, form: VaryForm) -> VarySettings {
        VarySettings {
            fields: vec![(HeaderName::from_static(name), form)],
            ..VarySettings::default()
        }
    }

    fn normalize() -> VarySettings {
        formed("accept-language", VaryForm::Normalize)
    }

    fn best(name: &'static str, choices: &[&str]) -> VarySettings {
        let choices = choices.iter().map(|choice| (*choice).to_owned());
        formed(name, VaryForm::Best(choices.collect()))
    }

    #[test]
    fn rfc9111_4_1_all_lines_count_sorted_and_once() {
        let fields = |names: &[&'static str]| {
            Vary::Fields(
                names
                    .iter()
                    .map(|name| HeaderName::from_static(name))
                    .collect(),
            )
        };
        assert_eq!(vary(&[]), Vary::None);
        assert_eq!(vary(&["", " , "]), Vary::None);
        assert_eq!(
            vary(&["Cookie, accept-language", "COOKIE", "Accept"]),
            fields(&["accept", "accept-language", "cookie"])
        );
    }

    #[test]
    fn rfc9111_4_1_a_star_anywhere_matches_nothing() {
        for lines in [
            &["*"][..],
            &["*, *"],
            &[", *"],
            &["", "*"],
            &["*, foo"],
            &["foo", "*"],
            &["foo bar"],
            &["\"foo\""],
        ] {
            assert_eq!(vary(lines), Vary::Any, "{lines:?}");
            assert_eq!(
                vary(lines).selecting_key(&HeaderMap::new(), &VarySettings::default()),
                None
            );
        }
    }

    #[test]
    fn rfc9111_4_1_whitespace_and_line_breaks_in_lists_do_not_matter() {
        let one = key("foo", &[("foo", "1, 2")]);
        assert_eq!(one, key("foo", &[("foo", "1 ,2")]));
        assert_eq!(one, key("foo", &[("foo", "1"), ("foo", "2")]));
        assert_ne!(one, key("foo", &[("foo", "2, 1")]));
        let quoted = key("foo", &[("foo", "\"a,b\"")]);
        assert_ne!(quoted, key("foo", &[("foo", "\"a, b\"")]));
        assert_ne!(quoted, key("foo", &[("foo", "\"a"), ("foo", "b\"")]));
    }

    #[test]
    fn commas_in_free_text_fields_are_left_alone() {
        assert_ne!(
            key("user-agent", &[("user-agent", "a, b")]),
            key("user-agent", &[("user-agent", "a,b")])
        );
        assert_ne!(
            key("cookie", &[("cookie", "a"), ("cookie", "b")]),
            key("cookie", &[("cookie", "a, b")])
        );
    }

    #[test]
    fn an_absent_field_differs_from_an_empty_one() {
        assert_ne!(key("foo", &[]), key("foo", &[("foo", "")]));
        assert_eq!(key("foo", &[]), key("foo", &[("bar", "1")]));
        assert_ne!(
            key("accept-encoding", &[]),
            key("accept-encoding", &[("accept-encoding", "")])
        );
    }

    #[test]
    fn accept_encoding_selects_by_its_set_of_codings() {
        let chrome = key(
            "accept-encoding",
            &[("accept-encoding", "gzip, deflate, br")],
        );
        assert_eq!(
            chrome,
            key("accept-encoding", &[("accept-encoding", "br;q=0.9,gzip")])
        );
        assert_ne!(
            chrome,
            key("accept-encoding", &[("accept-encoding", "gzip")])
        );
    }

    #[test]
    fn accept_language_selects_as_the_settings_say() {
        let vary = vary(&["accept-language"]);
        let languages = best("accept-language", &["en", "de"]);
        let equal = |settings: &VarySettings, one: &str, other: &str| {
            let key = |value: &str| match value {
                "" => vary.selecting_key(&HeaderMap::new(), settings),
                value => vary.selecting_key(&map(&[("accept-language", value)]), settings),
            };
            key(one) == key(other)
        };
        let pass = VarySettings::default();
        for (one, other, passed, normalized, best) in [
            ("en, de", " en ,   de", true, true, true),
            ("en, de", "de, en", false, true, true),
            ("en, de", "eN, De", false, true, true),
            ("de;q=0.5, en", "fr, en;q=0.1", false, false, true),
            ("de", "en", false, false, false),
            ("", "fr", false, false, true),
        ] {
            assert_eq!(equal(&pass, one, other), passed, "{one} {other}");
            assert_eq!(equal(&normalize(), one, other), normalized, "{one} {other}");
            assert_eq!(equal(&languages, one, other), best, "{one} {other}");
        }
    }

    #[test]
    fn what_the_origin_is_asked_selects_the_same_response() {
        for (name, settings, values) in [
            ("accept-language", VarySettings::default(), ["De , en", "*"]),
            (
                "accept-language",
                normalize(),
                ["De-AT;q=0.5 , en;q=0.50", ""],
            ),
            (
                "accept-language",
                best("accept-language", &["en", "de"]),
                ["De", "fr"],
            ),
            (
                "accept",
                formed("accept", VaryForm::Normalize),
                ["Text/HTML, */*", "x"],
            ),
            (
                "accept",
                best("accept", &["text/html", "text/x"]),
                ["text/*", ""],
            ),
            (
                "x-foo",
                formed("x-foo", VaryForm::Normalize),
                ["B , a, A", ""],
            ),
            (
                "accept-encoding",
                VarySettings::default(),
                ["BR, gzip;q=0.1", "x"],
            ),
        ] {
            let vary = vary(&[name]);
            for value in values {
                let mut request = map(&[(name, value)]);
                let key = vary.selecting_key(&request, &settings);
                for (name, value) in forwarded_fields(&request, &settings) {
                    request.insert(name, value);
                }
                assert_eq!(
                    vary.selecting_key(&request, &settings),
                    key,
                    "{name}: {value}"
                );
            }
        }
    }

    #[test]
    fn fields_reach_the_origin_in_the_form_in_which_they_count() {
        let request = map(&[
            ("accept", "image/WEBP, image/*;q=0.80"),
            ("accept-encoding", "br , gzip"),
            ("x-foo", "B , a"),
            ("x-foo", "b"),
        ]);
        let told = |settings: &VarySettings| -> Vec<(String, String)> {
            forwarded_fields(&request, settings)
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect()
        };
        let codings = [("accept-encoding".to_owned(), "br,gzip,identity".to_owned())];
        for (settings, name, value) in [
            (
                formed("accept", VaryForm::Normalize),
                "accept",
                "image/webp,image/*;q=0.8",
            ),
            (
                best("accept", &["image/jpeg", "image/webp"]),
                "accept",
                "image/webp",
            ),
            (formed("x-foo", VaryForm::Normalize), "x-foo", "a,b"),
            (best("accept-language", &["en"]), "accept-language", "en"),
        ] {
            let own = (name.to_owned(), value.to_owned());
            assert_eq!(told(&settings), [&[own][..], &codings].concat());
        }
        for form in [VaryForm::PassThrough, VaryForm::Bypass] {
            assert!(told(&formed("accept-encoding", form.clone())).is_empty());
            assert_eq!(told(&formed("x-foo", form)), codings);
        }
        assert_eq!(told(&formed("x-absent", VaryForm::Normalize)), codings);
    }

    #[test]
    fn a_response_is_bypassed_by_what_it_varies_by() {
        let others = VarySettings {
            bypass_others: true,
            ..normalize()
        };
        let user_agent = formed("user-agent", VaryForm::Bypass);
        for (line, by_name, by_default) in [
            ("accept-encoding", false, false),
            ("accept-language, accept-encoding", false, false),
            ("User-Agent", true, true),
            ("accept-encoding, x-foo", false, true),
            ("*", false, false),
            ("", false, false),
        ] {
            assert_eq!(vary(&[line]).is_bypassed(&user_agent), by_name, "{line}");
            assert_eq!(vary(&[line]).is_bypassed(&others), by_default, "{line}");
            assert!(!vary(&[line]).is_bypassed(&VarySettings::default()));
        }
    }

    #[test]
    fn a_field_that_passes_counts_as_it_is_sent() {
        let key = |settings: &VarySettings, value| {
            vary(&["accept-encoding"]).selecting_key(&map(&[("accept-encoding", value)]), settings)
        };
        let normal = VarySettings::default();
        assert_eq!(key(&normal, "gzip"), key(&normal, "GZIP;q=0.5"));
        let passed = formed("accept-encoding", VaryForm::PassThrough);
        assert_ne!(key(&passed, "gzip"), key(&passed, "GZIP;q=0.5"));
        assert_eq!(key(&passed, "gzip,br"), key(&passed, " gzip , br"));
    }

    #[test]
    fn a_response_in_the_language_wanted_most_is_selected() {
        let vary = vary(&["accept-language, foo"]);
        let stored = map(&[("content-language", "De")]);
        let language = content_language(&stored).unwrap();
        let answered = map(&[("accept-language", "en, de"), ("foo", "1")]);
        let key = vary.language_key(&answered, language, &normalize());
        assert!(key.is_some());
        for (accept, foo, selected) in [
            ("fr;q=0.5, de;q=1.0", "1", true),
            ("fr;q=0.5, de;q=1.0", "2", false),
            ("fr, de;q=0.5", "1", false),
        ] {
            let request = map(&[("accept-language", accept), ("foo", foo)]);
            let wanted = accept_language::first_choice(&request).unwrap();
            let same = vary.language_key(&request, &wanted, &normalize()) == key;
            assert_eq!(same, selected, "{accept} {foo}");
        }
        assert_eq!(
            vary.language_key(&answered, b"de", &VarySettings::default()),
            None
        );
        assert_eq!(
            Vary::None.language_key(&answered, b"de", &normalize()),
            None
        );
        assert_eq!(
            content_language(&map(&[("content-language", "de, en")])),
            None
        );
    }

    proptest! {
        #[test]
        fn values_never_run_into_the_next_field(
            a in "[ -~]{0,12}", b in "[ -~]{0,12}", c in "[ -~]{0,12}", d in "[ -~]{0,12}",
        ) {
            let vary = vary(&["cookie, referer"]);
            let one = selecting_key(&vary, &[("cookie", &a), ("referer", &b)]);
            let other = selecting_key(&vary, &[("cookie", &c), ("referer", &d)]);
            prop_assert_eq!(one == other, (a, b) == (c, d));
        }

        #[test]
        fn the_cheap_answer_is_the_right_one(line in "[*a-c, \"!~/\t\u{e9}-]{0,8}") {
            let mut response = HeaderMap::new();
            response.insert(VARY, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            prop_assert_eq!(Vary::is_any(&response), Vary::of(&response) == Vary::Any);
        }

        #[test]
        fn reading_vary_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut response = HeaderMap::new();
                response.insert(VARY, value.clone());
                let mut request = HeaderMap::new();
                request.insert("foo", value);
                for settings in [VarySettings::default(), normalize()] {
                    let _ = Vary::of(&response).selecting_key(&request, &settings);
                }
            }
        }
    }
}
