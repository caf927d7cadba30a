//! What an entry of the stream says.
//!
//! An entry has the fields `v`, the version of the form; `node`, who wrote it; `number`, its number
//! among those of this node; and `what`, which alone is not for people to read.

use serde::{Deserialize, Serialize};

use crate::purge::Announcement;

/// Changes with the form of what is written. A node that meets another one treats the entry as a purge
/// of everything.
const VERSION: &str = "1";

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The process that wrote it.
    pub(super) node: Box<str>,
    /// Its number among those of this process.
    pub(super) number: u64,
    pub(super) what: What,
}

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// Nothing: the stream begins.
    Begin,
    /// A purge.
    Purge(Announcement),
    /// Purges were lost, and it is not known which.
    Lost,
}

/// An entry's fields, in order.
pub(super) type Fields = Vec<(Box<[u8]>, Box<[u8]>)>;

impl Entry {
    /// The fields to write; `None` when that is not possible.
    pub(super) fn encode(&self) -> Option<Fields> {
        let what = postcard::to_stdvec(&self.what).ok()?;
        let field = |name: &str, value: &[u8]| (name.as_bytes().into(), value.into());
        Some(vec![
            field("v", VERSION.as_bytes()),
            field("node", self.node.as_bytes()),
            field("number", self.number.to_string().as_bytes()),
            field("what", &what),
        ])
    }

    /// Reads fields; `None` when they are not what [`Self::encode`] writes.
    pub(super) fn decode(fields: &Fields) -> Option<Self> {
        let value = |name: &str| {
            let found = fields.iter().find(|(known, _)| **known == *name.as_bytes());
            found.map(|(_, value)| &**value)
        };
        let text = |name: &str| std::str::from_utf8(value(name)?).ok();
        if text("v")? != VERSION {
            return None;
        }
        let (what, rest) = postcard::take_from_bytes(value("what")?).ok()?;
        rest.is_empty().then_some(Self {
            node: text("node")?.into(),
            number: text("number")?.parse().ok()?,
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::{Mode, Scope, Target};
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn entry(what: What) -> Entry {
        Entry {
            node: "edge-1".into(),
            number: 7,
            what,
        }
    }

    fn purge() -> What {
        What::Purge(Announcement {
            at: UNIX_EPOCH + Duration::from_hours(490_896),
            mode: Mode::Soft,
            scopes: vec![
                Scope {
                    zone: Some("shop".into()),
                    target: Target::Tag("product-7".into()),
                },
                Scope {
                    zone: None,
                    target: Target::Key([0, 255, 7].into()),
                },
            ],
        })
    }

    #[test]
    fn what_is_written_is_read_again() {
        for what in [What::Begin, What::Lost, purge()] {
            let entry = entry(what);
            assert_eq!(Entry::decode(&entry.encode().unwrap()), Some(entry));
        }
    }

    #[test]
    fn nothing_of_a_damaged_entry_is_believed() {
        let good = entry(purge()).encode().unwrap();
        for index in 0..good.len() {
            let mut without = good.clone();
            without.remove(index);
            assert_eq!(Entry::decode(&without), None);
            let mut other = good.clone();
            other[index].1 = (*b"\xff\xff").into();
            assert_eq!(Entry::decode(&other), None);
        }
        let mut short = good.clone();
        short[3].1 = good[3].1[..good[3].1.len() - 1].into();
        assert_eq!(Entry::decode(&short), None);
        let mut long = good.clone();
        long[3].1 = [&*good[3].1, b"x"].concat().into();
        assert_eq!(Entry::decode(&long), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
            let mut fields = entry(What::Begin).encode().unwrap();
            fields[3].1 = bytes.into();
            let _ = Entry::decode(&fields);
        }
    }
}
