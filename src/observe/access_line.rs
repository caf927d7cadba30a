//! An access record as a line of JSON.
//!
//! By hand, as there is one for every hit: what is known to be no more than it is goes out as it is, with its
//! name in one piece.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use super::access_log::{AccessRecord, Line, OrEmpty, Shown};

/// A member that is not the first, up to its value.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl Line for AccessRecord<'_> {
    fn append(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let time = humantime::format_rfc3339_millis(self.time.0);
        write!(out, "{{\"time\":\"{time}\"")?;
        text(out, name!("request_id"), self.request_id)?;
        plain(out, name!("client"), &self.client)?;
        text(out, name!("zone"), self.zone)?;
        text(out, name!("method"), self.method)?;
        text(out, name!("scheme"), self.scheme)?;
        text(out, name!("host"), self.host)?;
        text(out, name!("target"), self.target)?;
        optional(out, name!("rewritten"), self.rewritten)?;
        text(out, name!("protocol"), self.protocol)?;
        number(out, name!("status"), self.status)?;
        number(out, name!("response_bytes"), self.response_bytes)?;
        number(out, name!("request_bytes"), self.request_bytes)?;
        text(out, name!("cache"), self.cache)?;
        optional(out, name!("tier"), self.tier)?;
        shown(out, name!("cache_status"), &self.cache_status)?;
        optional(out, name!("rule"), self.rule)?;
        if let Some(place) = &self.rule_at {
            shown(out, name!("rule_at"), place)?;
        }
        if let Some(key) = &self.key {
            write!(out, concat!(name!("key"), "\"{:016x}\""), key.0)?;
        }
        optional(out, name!("lower_tier"), self.lower_tier)?;
        optional(out, name!("upper_tier"), self.upper_tier)?;
        if self.upstream.is_some() {
            plain(out, name!("upstream"), &OrEmpty(self.upstream))?;
        }
        number(out, name!("attempts"), self.attempts)?;
        number(out, name!("duration_ms"), self.duration_ms)?;
        for (name, millis) in [
            (name!("connect_ms"), self.connect_ms),
            (name!("first_byte_ms"), self.first_byte_ms),
            (name!("collapsed_wait_ms"), self.collapsed_wait_ms),
        ] {
            if let Some(millis) = millis {
                number(out, name, millis)?;
            }
        }
        optional(out, name!("user_agent"), self.user_agent)?;
        if let Some(error) = &self.error {
            shown(out, name!("error"), error)?;
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

/// RFC 8259 §7: what stands in a text as it is.
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn text(out: &mut Vec<u8>, name: &'static str, value: &str) -> io::Result<()> {
    out.extend_from_slice(name.as_bytes());
    // No early end: so it is done for many bytes at a time.
    let escapes = value
        .bytes()
        .fold(false, |any, byte| any | needs_escape(byte));
    if escapes {
        return Ok(serde_json::to_writer(out, value)?);
    }
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
    Ok(())
}

fn optional(out: &mut Vec<u8>, name: &'static str, value: Option<&str>) -> io::Result<()> {
    value.map_or(Ok(()), |value| text(out, name, value))
}

fn number(out: &mut Vec<u8>, name: &'static str, value: impl Serialize) -> io::Result<()> {
    out.extend_from_slice(name.as_bytes());
    Ok(serde_json::to_writer(out, &value)?)
}

/// An address, which has nothing to escape.
fn plain(out: &mut Vec<u8>, name: &'static str, value: &OrEmpty<impl Display>) -> io::Result<()> {
    out.extend_from_slice(name.as_bytes());
    match &value.0 {
        Some(value) => write!(out, "\"{value}\""),
        None => out.write_all(b"\"\""),
    }
}

fn shown(out: &mut Vec<u8>, name: &'static str, value: &impl Display) -> io::Result<()> {
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    let start = out.len();
    write!(out, "{value}")?;
    let written = out.get(start..).unwrap_or_default();
    if written
        .iter()
        .fold(false, |any, byte| any | needs_escape(*byte))
    {
        let value = String::from_utf8_lossy(written).into_owned();
        out.truncate(start - 1);
        return Ok(serde_json::to_writer(out, &value)?);
    }
    out.push(b'"');
    Ok(())
}

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Display> Display for OrEmpty<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |value| value.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::super::access_log::{KeyHash, Time, tests::record};
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::time::{Duration, SystemTime};

    fn written(record: &AccessRecord<'_>) -> Value {
        let mut line = Vec::new();
        record.append(&mut line).unwrap();
        assert_eq!(
            line.iter().position(|byte| *byte == b'\n'),
            Some(line.len() - 1)
        );
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn what_there_is_not_is_left_out() {
        let expected = json!({
            "time": "1970-01-01T00:00:00.000Z", "request_id": "", "client": "", "zone": "",
            "method": "GET", "scheme": "", "host": "", "target": "/", "protocol": "",
            "status": 200, "response_bytes": 0, "request_bytes": 0, "cache": "",
            "cache_status": "", "attempts": 0, "duration_ms": 0.0,
        });
        assert_eq!(written(&record("/")), expected);
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was(texts in proptest::collection::vec(any::<String>(), 8), number: u64) {
            let error: &dyn Display = &texts[7];
            let status = crate::cache::status::CacheStatus::hit(7);
            let record = AccessRecord {
                time: Time(SystemTime::UNIX_EPOCH + Duration::from_millis(1)),
                request_id: &texts[0],
                client: OrEmpty(Some("2001:db8::1".parse().unwrap())),
                host: &texts[1],
                rewritten: Some(&texts[2]),
                response_bytes: number,
                tier: Some("disk"),
                cache_status: OrEmpty(Some(&status)),
                rule: Some(&texts[3]),
                rule_at: Some(Shown(error)),
                key: Some(KeyHash(number)),
                lower_tier: Some(&texts[4]),
                upper_tier: Some(&texts[5]),
                upstream: Some("127.0.0.1:80".parse().unwrap()),
                duration_ms: 0.125,
                connect_ms: Some(0.5),
                first_byte_ms: Some(1.0),
                collapsed_wait_ms: Some(2.0),
                user_agent: Some(&texts[6]),
                error: Some(Shown(error)),
                ..record("/p")
            };
            let expected = json!({
                "time": "1970-01-01T00:00:00.001Z", "request_id": texts[0], "client": "2001:db8::1",
                "zone": "", "method": "GET", "scheme": "", "host": texts[1], "target": "/p",
                "rewritten": texts[2], "protocol": "", "status": 200, "response_bytes": number,
                "request_bytes": 0, "cache": "", "tier": "disk", "cache_status": status.to_string(),
                "rule": texts[3], "rule_at": texts[7], "key": format!("{number:016x}"),
                "lower_tier": texts[4], "upper_tier": texts[5], "upstream": "127.0.0.1:80",
                "attempts": 0, "duration_ms": 0.125, "connect_ms": 0.5, "first_byte_ms": 1.0,
                "collapsed_wait_ms": 2.0, "user_agent": texts[6], "error": texts[7],
            });
            prop_assert_eq!(written(&record), expected);
        }
    }
}
