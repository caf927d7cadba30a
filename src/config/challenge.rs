//! `[challenge]` and `[[verified_bots]]`: whom the guard asks for a little work, and whom never.

use std::net::SocketAddr;
use std::time::Duration;

use super::file::put_number;
use super::reader::Section;
use crate::guard::bots::{Ranges, VerifiedBot};

/// With more, a phone takes minutes.
const HARDEST: u64 = 26;
/// Who waits longer has gone.
const LONGEST_DELAY: u64 = 120;
/// A day, times thirty: after that, who was a person once may be anything.
const LONGEST_CLEARANCE: Duration = Duration::from_hours(720);

/// What visitors are asked to do, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Zero bits that the hash of a solution begins with; each one more doubles the work.
    pub difficulty: u8,
    /// How long who has passed is not asked again.
    pub clearance: Duration,
    /// How many seconds who has no scripts waits instead; `None` for no way to pass without them.
    pub noscript_delay: Option<u8>,
}

impl Default for Challenge {
    fn default() -> Self {
        Self {
            difficulty: 18,
            clearance: Duration::from_hours(1),
            noscript_delay: Some(15),
        }
    }
}

pub(super) fn read_challenge(section: Section<'_>) -> Challenge {
    let mut challenge = Challenge::default();
    let difficulty = section.integer("difficulty", 1..=HARDEST);
    put_number(&mut challenge.difficulty, difficulty);
    if let Some(clearance) = section.duration_of("clearance", Duration::from_secs(10)) {
        if clearance.value > LONGEST_CLEARANCE {
            let help = Some("thirty days are the most".to_owned());
            let message = "`clearance` is too long";
            section.reader.fault(clearance.span, message, help);
        } else {
            challenge.clearance = clearance.value;
        }
    }
    if let Some(delay) = section.duration("noscript_delay") {
        let seconds = delay.value.as_secs();
        if seconds > LONGEST_DELAY {
            let message = format!("`noscript_delay` must be at most {LONGEST_DELAY}s");
            let help = Some("\"0s\" leaves no way to pass without scripts".to_owned());
            section.reader.fault(delay.span, message, help);
        } else {
            let seconds = u8::try_from(seconds).ok();
            challenge.noscript_delay = seconds.filter(|seconds| *seconds > 0);
        }
    }
    section.finish();
    challenge
}

pub(super) fn read_verified_bots(root: &Section<'_>) -> Vec<VerifiedBot> {
    let sections = root.sections("verified_bots").into_iter();
    sections.filter_map(read_bot).collect()
}

fn read_bot(section: Section<'_>) -> Option<VerifiedBot> {
    let name = section.required_string("name", "\"Googlebot\"");
    let user_agent = section.required_string("user_agent", "\"Googlebot\"");
    if let Some(empty) = user_agent.as_ref().filter(|agent| agent.value.is_empty()) {
        let message = "`user_agent` must say what the bot's User-Agent contains";
        section.reader.fault(empty.span.clone(), message, None);
    }
    let ranges = section.file("ranges_file").and_then(|file| {
        let parsed = Ranges::parse(&file.value.text);
        let fault = |why| {
            let message = format!("in \"{}\": {why}", file.value.name);
            let help = "write a network a line, or JSON as Google publishes it: \
                        {\"prefixes\": [{\"ipv4Prefix\": \"66.249.64.0/27\"}]}";
            section
                .reader
                .fault(file.span.clone(), message, Some(help.to_owned()));
        };
        parsed.map_err(fault).ok()
    });
    let domains = section.strings("domains").unwrap_or_default();
    for domain in &domains {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        let name = domain.value.trim_matches('.');
        if !name.contains('.') || !name.bytes().all(plain) {
            let message = format!("\"{}\" is not a domain", domain.value);
            let help = Some("write for example `domains = [\"googlebot.com\"]`".to_owned());
            section.reader.fault(domain.span.clone(), message, help);
        }
    }
    let resolver = section.parsed("resolver", "an address and port", |text| {
        let parsed = text.parse::<SocketAddr>();
        parsed.map_err(|_| "is not an address and port such as \"127.0.0.1:53\"".to_owned())
    });
    if !section.has("ranges_file") && !section.has("domains") {
        let message = "nothing says how the bot is verified";
        let help = "write `ranges_file = \"googlebot.json\"` or `domains = [\"googlebot.com\"]`: \
                    anybody can send its User-Agent";
        let span = section.span.clone();
        section.reader.fault(span, message, Some(help.to_owned()));
    }
    section.finish();
    Some(VerifiedBot {
        name: name?.value,
        user_agent: user_agent?.value,
        ranges: ranges.unwrap_or_default(),
        domains: domains
            .iter()
            .map(|domain| domain.value.trim_matches('.').to_ascii_lowercase())
            .collect(),
        resolver: resolver.map(|resolver| resolver.value),
    })
}
