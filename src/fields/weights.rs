//! Weighted preferences in one form, and the best choice by them (RFC 9110 §12.4.2).

use std::cmp::Reverse;

/// What a client names, in lower case, with its weight in thousandths.
pub(super) struct Weighted {
    pub(super) range: Vec<u8>,
    pub(super) weight: u16,
}

/// Each range once with its greatest weight, the heaviest first, then by name.
pub(super) fn ranked(found: impl Iterator<Item = Weighted>) -> Vec<Weighted> {
    let mut found: Vec<Weighted> = found.collect();
    found.sort_by(|one, other| {
        (&one.range, Reverse(one.weight)).cmp(&(&other.range, Reverse(other.weight)))
    });
    found.dedup_by(|later, earlier| later.range == earlier.range);
    found.sort_by(|one, other| {
        (Reverse(one.weight), &one.range).cmp(&(Reverse(other.weight), &other.range))
    });
    found
}

/// Appends preferences as a field value, with weights as short as they can be.
pub(super) fn write(ranked: &[Weighted], out: &mut Vec<u8>) {
    for (position, weighted) in ranked.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&weighted.range);
        write_weight(weighted.weight, out);
    }
}

/// The choice of the highest rank: weight first, then how closely it was named, then the earlier.
/// The first one when `rank` gives none to any; empty when there are none.
pub(super) fn best(choices: &[String], rank: impl Fn(&str) -> Option<(u16, u8)>) -> &str {
    choices
        .iter()
        .enumerate()
        .filter_map(|(position, choice)| Some(((rank(choice)?, Reverse(position)), choice)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, choice)| choice)
        .or_else(|| choices.first())
        .map_or("", String::as_str)
}

fn write_weight(weight: u16, out: &mut Vec<u8>) {
    if weight >= 1000 {
        return;
    }
    out.extend_from_slice(b";q=0");
    if weight > 0 {
        let digits = format!(".{weight:03}");
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
}
