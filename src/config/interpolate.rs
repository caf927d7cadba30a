//! `${NAME}` and `${NAME:-default}` inside configuration strings.
//!
//! Values are put in after the file is parsed, string by string, so that what the environment
//! holds can never change the file's structure. `$${` writes a literal `${`, and `${1}` stays as it
//! is: no variable is called so, and in expressions it stands for a group of a pattern.

use std::borrow::Cow;

/// Looks up an environment variable.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Replaces every reference in `text`.
///
/// # Errors
/// A sentence naming the variable that is unset or the reference that is malformed.
pub(super) fn interpolate<'t>(text: &'t str, env: &Env<'_>) -> Result<Cow<'t, str>, String> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (reference, tail) = after
            .split_once('}')
            .ok_or_else(|| "has a `${` without its `}`".to_owned())?;
        if is_capture(reference) {
            // `${1}` of a replacement is for the expression.
            out.extend(["${", reference, "}"]);
        } else {
            out.push_str(&lookup(reference, env)?);
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

fn is_capture(reference: &str) -> bool {
    !reference.is_empty() && reference.bytes().all(|byte| byte.is_ascii_digit())
}

fn lookup(reference: &str, env: &Env<'_>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !well_formed {
        return Err(format!("has the malformed reference `${{{reference}}}`"));
    }
    // As in a shell, `:-` also stands in for a variable that is set but empty.
    match (
        env(name).filter(|value| !value.is_empty() || default.is_none()),
        default,
    ) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "needs the environment variable {name}, which is not set"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let env = |name: &str| match name {
            "PORT" => Some("9000".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        interpolate(text, &env).map(Cow::into_owned)
    }

    #[test]
    fn references_are_replaced() {
        for (text, expected) in [
            ("[::]:${PORT:-8080}", "[::]:9000"),
            ("[::]:${NO_PORT:-8080}", "[::]:8080"),
            ("${PORT}${PORT}", "90009000"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("${UNSET:-}", ""),
            ("$${PORT}", "${PORT}"),
            ("no reference $PORT", "no reference $PORT"),
            ("/${2}/${1}/${PORT}", "/${2}/${1}/9000"),
        ] {
            assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn unset_and_malformed_references_are_errors() {
        assert!(run("${UNSET}").unwrap_err().contains("UNSET"));
        assert!(run("${PORT").unwrap_err().contains("without its `}`"));
        assert!(run("${1A}").unwrap_err().contains("malformed"));
        assert!(run("${}").unwrap_err().contains("malformed"));
    }
}
