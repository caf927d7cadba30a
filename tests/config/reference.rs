//! `conf/reference.toml` as it is written: its defaults, its examples and its comments.

use std::collections::BTreeMap;

pub(super) const REFERENCE: &str = "conf/reference.toml";
/// Resembles no key, so that the help lists the known ones instead of suggesting one.
pub(super) const BOGUS: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

/// The way to a value: keys, and indexes of lists as numbers.
pub(super) type Path = Vec<String>;

/// The reference's tokens come from the environment.
pub(super) fn tokens(name: &str) -> Option<String> {
    (name.ends_with("_TOKEN") || name.ends_with("_SECRET")).then(|| "0123456789abcdef".to_owned())
}

/// What is in the files that the reference names: nothing, where that will do.
pub(super) fn file(path: &std::path::Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str());
    let content = match name {
        Some("bingbot.json") => r#"{"prefixes": [{"ipv4Prefix": "192.0.2.0/24"}]}"#,
        Some("drop_v4.json") => r#"{"type": "metadata", "records": 0}"#,
        _ => "",
    };
    content.to_owned()
}

/// Turns `#key` lines, the defaults, into keys; with `examples` the `#e.g. ` lines as well. Prose
/// has a space after its `#`.
pub(super) fn uncommented(source: &str, examples: bool) -> String {
    let uncomment = |line| {
        let Some(text) = str::trim_start(line).strip_prefix('#') else {
            return line;
        };
        match text.strip_prefix("e.g. ") {
            Some(example) if examples => example,
            None if text.starts_with(|c: char| c.is_ascii_lowercase()) => text,
            _ => line,
        }
    };
    let lines: Vec<&str> = source.lines().map(uncomment).collect();
    lines.join("\n")
}

/// The comments of the reference by the way to what they describe. A comment above several keys is
/// for all of them; a line `# word   text` in it, with what is indented below, is for the key `word`
/// of the table that follows.
pub(super) fn comments(source: &str) -> BTreeMap<Path, String> {
    let mut found = BTreeMap::new();
    let mut header = Path::new();
    let mut prose: Vec<&str> = Vec::new();
    let mut after_key = false;
    for line in source.lines() {
        if let Some(text) = line.strip_prefix('#') {
            if after_key {
                prose.clear();
            }
            prose.push(text.strip_prefix(' ').unwrap_or(text));
            after_key = false;
            continue;
        }
        let place = if line.starts_with('[') {
            let name = line.trim_matches(['[', ']', ' ']);
            header = name.split('.').map(str::to_owned).collect();
            Some(header.clone())
        } else {
            let key = line.split_once(" = ").map(|(key, _)| key);
            key.filter(|key| key.bytes().all(is_of_a_word))
                .map(|key| below(&header, key))
        };
        after_key = place.is_some();
        match place {
            Some(place) => describe(&place, &prose, &mut found),
            None => prose.clear(),
        }
        if line.starts_with('[') {
            prose.clear();
        }
    }
    found
}

pub(super) fn below(place: &Path, step: &str) -> Path {
    [place.as_slice(), &[step.to_owned()]].concat()
}

fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
}

fn describe(place: &Path, prose: &[&str], found: &mut BTreeMap<Path, String>) {
    let mut texts: BTreeMap<Path, Vec<&str>> = BTreeMap::new();
    let mut current = place.clone();
    for line in prose {
        if let Some((word, text)) = line.split_once("  ")
            && !word.is_empty()
            && word.bytes().all(is_of_a_word)
        {
            current = below(place, word);
            texts.entry(current.clone()).or_default().push(text.trim());
        } else {
            if !line.starts_with("  ") {
                current.clone_from(place);
            }
            texts.entry(current.clone()).or_default().push(line.trim());
        }
    }
    for (place, lines) in texts {
        found.entry(place).or_insert_with(|| lines.join(" "));
    }
}
