//! Durations and sizes as people write them: `"60s"`, `"1 year"`, `"1h 30m"`, `"512 MiB"`.

use std::time::Duration;

/// Seconds per unit; a month is 30 days and a year 365, as cache lifetimes mean them.
const DURATION_UNITS: &[(&[&str], u64)] = &[
    (&["s", "sec", "secs", "second", "seconds"], 1),
    (&["m", "min", "mins", "minute", "minutes"], 60),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600),
    (&["d", "day", "days"], 86_400),
    (&["w", "week", "weeks"], 604_800),
    (&["month", "months"], 2_592_000),
    (&["y", "year", "years"], 31_536_000),
];

const SIZE_UNITS: &[(&[&str], u64)] = &[
    (&["b", "byte", "bytes"], 1),
    (&["kb"], 1_000),
    (&["mb"], 1_000_000),
    (&["gb"], 1_000_000_000),
    (&["tb"], 1_000_000_000_000),
    (&["k", "kib"], 1 << 10),
    (&["m", "mib"], 1 << 20),
    (&["g", "gib"], 1 << 30),
    (&["t", "tib"], 1 << 40),
];

/// Longest duration accepted, 100 years: beyond it clocks and `max-age` arithmetic lose meaning.
const MAX_DURATION: Duration = Duration::from_hours(100 * 365 * 24);

/// Parses a duration: numbers with units, summed; `"0"` needs no unit.
///
/// # Errors
/// A sentence saying what is wrong, fit to follow the offending text.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    for (number, unit) in quantities(text)? {
        let part = if unit.eq_ignore_ascii_case("ms") {
            Duration::from_millis(number)
        } else {
            let seconds = unit_value(DURATION_UNITS, unit)
                .ok_or_else(|| unknown_unit(unit, "ms, s, m, h, d, w, month, y"))?;
            Duration::from_secs(number.checked_mul(seconds).ok_or("is too long")?)
        };
        total = total.checked_add(part).ok_or("is too long")?;
    }
    if total > MAX_DURATION {
        return Err("is longer than 100 years".to_owned());
    }
    Ok(total)
}

/// Parses a size in bytes: `"512 MiB"` (powers of 1024), `"10 MB"` (powers of 1000), `"4096"`.
///
/// # Errors
/// A sentence saying what is wrong, fit to follow the offending text.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    if let Ok(bytes) = text.trim().parse() {
        return Ok(bytes);
    }
    let mut total: u64 = 0;
    for (number, unit) in quantities(text)? {
        let factor = unit_value(SIZE_UNITS, unit)
            .ok_or_else(|| unknown_unit(unit, "B, KiB, MiB, GiB, TiB, KB, MB, GB, TB"))?;
        total = number
            .checked_mul(factor)
            .and_then(|bytes| total.checked_add(bytes))
            .ok_or("is too large")?;
    }
    Ok(total)
}

/// Splits `"1h 30m"` into its numbers and units.
fn quantities(text: &str) -> Result<Vec<(u64, &str)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        if rest
            .strip_prefix(number)
            .is_some_and(|tail| tail.starts_with(['.', ',']))
        {
            return Err("must be made of whole numbers, such as \"1s 500ms\"".to_owned());
        }
        if number.is_empty() {
            return Err("must begin with a whole number".to_owned());
        }
        let number = number
            .parse()
            .map_err(|_| "has too large a number".to_owned())?;
        let tail = tail.trim_start();
        let letters = tail
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() {
            return Err("needs a unit after the number".to_owned());
        }
        found.push((number, unit));
        rest = tail.trim_start();
    }
    if found.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(found)
}

fn unit_value(units: &[(&[&str], u64)], unit: &str) -> Option<u64> {
    units
        .iter()
        .find(|(names, _)| names.iter().any(|name| unit.eq_ignore_ascii_case(name)))
        .map(|(_, value)| *value)
}

fn unknown_unit(unit: &str, known: &str) -> String {
    format!("has the unknown unit `{unit}`; known are {known}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("60s", 60),
            ("0", 0),
            ("0s", 0),
            ("1 year", 31_536_000),
            ("1h 30m", 5_400),
            ("1h30m", 5_400),
            (" 2 Days ", 172_800),
            ("1 month", 2_592_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn bad_durations_say_why() {
        for (text, why) in [
            ("", "is empty"),
            ("60", "needs a unit"),
            ("s", "must begin with a whole number"),
            ("-5s", "must begin with a whole number"),
            ("1.5s", "whole numbers"),
            ("5 parsecs", "unknown unit `parsecs`"),
            ("101 years", "longer than 100 years"),
            ("99999999999999999999s", "too large a number"),
            ("9999999999999999999 years", "is too long"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_keep_binary_and_decimal_units_apart() {
        for (text, bytes) in [
            ("512 MiB", 512 << 20),
            ("10 MB", 10_000_000),
            ("64k", 65_536),
            ("4096", 4_096),
            ("1GiB 1B", (1 << 30) + 1),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert!(parse_size("5 QB").unwrap_err().contains("unknown unit"));
        assert!(
            parse_size("99999999 TiB")
                .unwrap_err()
                .contains("too large")
        );
    }
}
