//! Forms in which lists come from others.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;

use super::{List, ListFault, MOST_FAULTS};

/// The form of a file with a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// Our own: one item a line.
    #[default]
    Plain,
    /// A set of networks as `FireHOL` publishes them: one a line; `#` or `;` begins a comment, and bits after
    /// the prefix say nothing.
    Netset,
    /// Spamhaus DROP and ASN-DROP: a JSON object a line.
    SpamhausDrop,
}

/// The items of a text with their lines, or the faulty lines.
type Items<'t> = Result<Vec<(usize, Cow<'t, str>)>, Vec<ListFault>>;

/// A line of Spamhaus: a network, an autonomous system, or words about the list.
#[derive(Deserialize)]
struct DropLine<'t> {
    #[serde(borrow)]
    cidr: Option<Cow<'t, str>>,
    asn: Option<u32>,
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'t, str>>,
}

impl ListFormat {
    /// Whether what comes in this form is what others think of the Internet, in which nobody of ours belongs.
    pub const fn is_of_others(self) -> bool {
        !matches!(self, Self::Plain)
    }

    /// The items of `text`, each with its line from 1.
    ///
    /// # Errors
    /// The lines that are not of this form, the first few of them.
    pub fn items(self, text: &str) -> Items<'_> {
        match self {
            Self::Plain => Ok(List::lines(text)
                .map(|(line, item)| (line, item.into()))
                .collect()),
            Self::Netset => Ok(networks(text).collect()),
            Self::SpamhausDrop => drop_lines(text),
        }
    }
}

fn networks(text: &str) -> impl Iterator<Item = (usize, Cow<'_, str>)> {
    let item = |line: &'_ str| line.find(['#', ';']).unwrap_or(line.len());
    (1..)
        .zip(text.lines())
        .map(move |(number, line)| (number, line.get(..item(line)).unwrap_or_default().trim()))
        .filter(|(_, item)| !item.is_empty())
        .map(|(number, item)| (number, masked(item)))
}

/// A block without bits after its prefix.
fn masked(item: &str) -> Cow<'_, str> {
    let block = item.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let block = ipnet::IpNet::new(address, length.parse().ok()?).ok()?;
        (block.network() != address).then(|| block.trunc().to_string())
    });
    block.map_or(Cow::Borrowed(item), Cow::Owned)
}

fn drop_lines(text: &str) -> Items<'_> {
    let (mut items, mut faults) = (Vec::new(), Vec::new());
    // Such a file says at least when it was made. One without a word was not fetched as it should have been, and
    // would let in whom the last one kept out.
    if text.trim().is_empty() {
        faults.push(ListFault {
            place: 1,
            message: "the file is empty".to_owned(),
            help: Some("fetch it again, and keep the old one when that fails".to_owned()),
        });
    }
    for (place, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        match serde_json::from_str::<DropLine<'_>>(line) {
            Ok(DropLine {
                cidr: Some(cidr), ..
            }) => items.push((place, cidr)),
            Ok(DropLine { asn: Some(asn), .. }) => items.push((place, asn.to_string().into())),
            Ok(DropLine { kind: Some(_), .. }) => {}
            _ if faults.len() < MOST_FAULTS => faults.push(ListFault {
                place,
                message: "a line is no JSON object with `cidr` or `asn`".to_owned(),
                help: Some("other files have another `format`".to_owned()),
            }),
            _ => {}
        }
    }
    if faults.is_empty() {
        Ok(items)
    } else {
        Err(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ListKind;
    use super::*;

    fn list(format: ListFormat, text: &str) -> List {
        let items = format.items(text).unwrap();
        let items = items.iter().map(|(line, item)| (*line, item.as_ref()));
        List::new(None, items).unwrap()
    }

    fn holds(list: &List, address: &str) -> bool {
        list.contains_address(address.parse().unwrap())
    }

    #[test]
    fn spamhaus_lines_are_networks_or_autonomous_systems() {
        let networks = list(
            ListFormat::SpamhausDrop,
            "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\",\"rir\":\"ripencc\"}\n\
             {\"cidr\":\"2001:db8::/32\",\"sblid\":\"SBL2\"}\n\
             {\"type\":\"metadata\",\"timestamp\":1,\"records\":2,\"copyright\":\"x\"}\n",
        );
        assert_eq!(networks.kind(), Some(ListKind::Ip));
        assert!(holds(&networks, "192.0.2.9") && holds(&networks, "2001:db8::1"));
        assert!(!holds(&networks, "192.0.3.0"));
        let systems = list(
            ListFormat::SpamhausDrop,
            "{\"asn\":64496,\"cc\":\"ZZ\",\"asname\":\"X\"}\n",
        );
        assert!(systems.contains_number(64496));
    }

    #[test]
    fn a_line_that_was_cut_off_is_told_with_its_number() {
        for (text, place) in [
            ("{\"cidr\":\"192.0.2.0/24\"}\n{\"cidr\":\"198.51.1", 2),
            ("\n", 1),
            ("; a comment of the old form\n192.0.2.0/24 ; SBL1\n", 1),
        ] {
            let faults = ListFormat::SpamhausDrop.items(text).unwrap_err();
            assert_eq!(faults[0].place, place, "{text}");
        }
        let nothing = "{\"type\":\"metadata\",\"records\":0}\n";
        assert_eq!(ListFormat::SpamhausDrop.items(nothing), Ok(Vec::new()));
    }

    #[test]
    fn netsets_may_have_comments_and_bits_after_the_prefix() {
        let text = "# level 1\r\n192.0.2.7/24 ; SBL1\n198.51.100.1\n\n2001:db8::1/32 # v6\n";
        let list = list(ListFormat::Netset, text);
        for (address, expected) in [
            ("192.0.2.200", true),
            ("198.51.100.1", true),
            ("198.51.100.2", false),
            ("2001:db8:1::", true),
        ] {
            assert_eq!(holds(&list, address), expected, "{address}");
        }
    }

    #[test]
    fn what_is_ours_is_in_no_list_of_others() {
        let office = list(ListFormat::Plain, "203.0.113.0/28");
        let text = "10.0.0.0/8\n203.0.113.0/24\n::/0\n";
        let all = list(ListFormat::Netset, text);
        let rest = all.clone().without([&office], true);
        for (address, before, after) in [
            ("10.1.2.3", true, false),
            ("203.0.113.5", true, false),
            ("203.0.113.77", true, true),
            ("fd00::1", true, false),
            ("2001:db8::1", true, true),
        ] {
            assert_eq!(holds(&all, address), before, "{address}");
            assert_eq!(holds(&rest, address), after, "{address}");
        }
    }
}
