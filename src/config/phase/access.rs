//! `access_rules`: what requests must show to be let in.

use std::time::Duration;

use super::super::diagnostics::did_you_mean;
use super::super::reader::Section;
use super::super::rule::{Context, RuleFile, RuleKind, read_rules};
use super::super::secret::read_secret;
use crate::guard::access::{AccessRule, Basic, SignedUrl};
use crate::rules::Rule;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Required {
    Basic,
    Jwt,
    SignedUrl,
}

const REQUIRED: &[(&str, Required)] = &[
    ("basic", Required::Basic),
    ("jwt", Required::Jwt),
    ("signed_url", Required::SignedUrl),
];

/// The keys that belong to each.
const KEYS: [(Required, &str, &[&str]); 3] = [
    (Required::Basic, "basic", &["users", "users_file", "realm"]),
    (Required::Jwt, "jwt", &["jwt"]),
    (
        Required::SignedUrl,
        "signed_url",
        &["secrets", "parameter", "valid_for"],
    ),
];

const VALID_FOR: Duration = Duration::from_hours(3);

pub(super) fn read_access_rules(
    section: &Section<'_>,
    from: RuleFile<'_>,
) -> Vec<Rule<AccessRule>> {
    let kind = RuleKind {
        key: "access_rules",
        response: false,
        for_all: true,
        example: "require = \"basic\"",
    };
    read_rules(section, &kind, from, |rule, context| {
        let basic = read_basic(rule);
        let token = read_token(rule, context);
        let signed = read_signed(rule);
        let Some(required) = rule.word("require", REQUIRED) else {
            if !rule.has("require") {
                let help = "write `require = \"basic\"`, \"jwt\" or \"signed_url\"".to_owned();
                let message = "the rule does not say what it requires";
                rule.reader.fault(rule.span.clone(), message, Some(help));
            }
            return None;
        };
        for (of, word, keys) in KEYS {
            for key in keys
                .iter()
                .filter(|key| of != required.value && rule.has(key))
            {
                let message = format!("`{key}` does nothing without `require = \"{word}\"`");
                let help = Some("remove it, or change what is required".to_owned());
                rule.reader.fault(rule.place_of(key), message, help);
            }
        }
        match required.value {
            Required::Basic => {
                if !rule.has("users") && !rule.has("users_file") {
                    let help =
                        "write `users_file = \"staging.htpasswd\"`, as `htpasswd -B` makes it";
                    let message = "there is nobody to let in";
                    rule.reader
                        .fault(rule.span.clone(), message, Some(help.to_owned()));
                }
                basic.map(AccessRule::Basic)
            }
            Required::Jwt => {
                if !rule.has("jwt") {
                    let help = "write `jwt = \"app\"` for the tokens of `[[jwt]]` with that name"
                        .to_owned();
                    let message = "the rule does not say which tokens";
                    rule.reader.fault(rule.span.clone(), message, Some(help));
                }
                token
            }
            Required::SignedUrl => {
                if !rule.has("secrets") {
                    let help = "write `secrets = [\"${MEDIA_SECRET}\"]`".to_owned();
                    let message = "there is no key to verify URLs with";
                    rule.reader.fault(rule.span.clone(), message, Some(help));
                }
                signed.map(AccessRule::SignedUrl)
            }
        }
    })
}

fn read_basic(rule: &Section<'_>) -> Option<Basic> {
    let realm = rule
        .string("realm")
        .map_or_else(|| "Restricted".to_owned(), |realm| realm.value);
    let users = rule.strings("users").unwrap_or_default();
    let file = rule.file("users_file");
    let lines = users.iter().map(|line| line.value.as_str());
    let of_file = file.iter().flat_map(|file| file.value.text.lines());
    match Basic::new(&realm, lines.chain(of_file)) {
        Ok(basic) => Some(basic).filter(|basic| basic.users() > 0),
        Err((index, why)) => {
            // No line is shown: it may hold a password.
            let (span, line) = match (users.get(index), &file) {
                (Some(line), _) => (line.span.start..line.span.start + 1, index + 1),
                (None, Some(file)) => (file.span.clone(), index - users.len() + 1),
                (None, None) => (rule.span.clone(), index + 1),
            };
            let help = "a line is `name:hash`, as `htpasswd -nB name` prints it".to_owned();
            let message = format!("line {line} of the users {why}");
            rule.reader.fault(span, message, Some(help));
            None
        }
    }
}

fn read_token(rule: &Section<'_>, context: &Context<'_>) -> Option<AccessRule> {
    let name = rule.string("jwt")?;
    let tokens = context.from.tokens;
    if let Some(verifier) = tokens.get(&name.value) {
        return Some(AccessRule::Token(verifier.clone()));
    }
    let message = format!("there is no `[[jwt]]` named \"{}\"", name.value);
    let help = did_you_mean(&name.value, tokens.names());
    let help = help.or_else(|| {
        Some(format!(
            "add `[[jwt]]` with `name = \"{}\"` and its keys",
            name.value
        ))
    });
    rule.reader.fault(name.span, message, help);
    None
}

fn read_signed(rule: &Section<'_>) -> Option<SignedUrl> {
    let parameter = rule.parsed("parameter", "the name of a parameter", |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !text.is_empty() && text.bytes().all(plain) {
            return Ok(text.to_owned());
        }
        Err("must be of letters, digits, `-`, `_` and `.`".to_owned())
    });
    let valid_for = rule
        .duration("valid_for")
        .map_or(VALID_FOR, |time| time.value);
    let secrets = rule.strings("secrets")?;
    let secrets: Vec<_> = secrets
        .into_iter()
        .filter_map(|secret| read_secret(rule, "secrets", secret))
        .collect();
    Some(SignedUrl {
        parameter: parameter.map_or_else(|| "verify".to_owned(), |name| name.value),
        valid_for: valid_for.as_secs(),
        secrets,
    })
    .filter(|signed| !signed.secrets.is_empty())
}
