//! The purges in force, and what they say about one stored response.
//!
//! A response is reached by every purge that came after its fetch began: one that was under way when
//! a purge was acknowledged may hold what the purge was to remove.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::scope::{Scope, Target};

/// Position of a purge in the order of all purges, from 1; 0 is before all of them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation(pub u64);

/// What a purge makes of what it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It must not be served again.
    Hard,
    /// It is stale from then on.
    Soft,
}

/// A stored response as purges see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its zone.
    pub zone: &'a str,
    /// Its host without port.
    pub host: &'a str,
    /// Its path.
    pub path: &'a str,
    /// Its encoded primary key.
    pub key: &'a [u8],
    /// Its cache tags, lower case.
    pub tags: &'a [Box<str>],
}

/// What the purges say about a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// It has been stale since then, if it was not before.
    Stale(SystemTime),
    /// It must not be served.
    Gone,
}

/// One purge in force, in a form that can be written down: a line of JSON each, for example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its position.
    pub generation: Generation,
    /// When it was made.
    pub at: SystemTime,
    /// What it does.
    pub mode: Mode,
    /// What it reaches.
    pub scope: Scope,
}

/// The purges in force.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    keys: HashMap<Box<[u8]>, Zoned>,
    tags: HashMap<Box<str>, Zoned>,
    prefixes: HashMap<Box<str>, HashMap<Box<str>, Zoned>>,
    hosts: HashMap<Box<str>, Zoned>,
    everything: Zoned,
}

/// What was purged in one zone, or in all.
type Zoned = Vec<(Option<Box<str>>, Marks)>;

/// Purges of one scope. Only the last hard one counts, and the soft ones after it.
#[derive(Clone, Debug, Default)]
struct Marks {
    hard: Option<(Generation, SystemTime)>,
    soft: Vec<(Generation, SystemTime)>,
}

impl Journal {
    /// Puts a purge in force. Generations need not come in order, as when a file is read again.
    pub fn record(&mut self, scope: Scope, mode: Mode, generation: Generation, now: SystemTime) {
        let Scope { zone, target } = scope;
        if mode == Mode::Hard && zone.is_none() && target == Target::Everything {
            // Whatever an older purge reaches, this one does.
            self.forget(generation);
        }
        let zoned = match target {
            Target::Key(key) => self.keys.entry(key).or_default(),
            Target::Tag(tag) => self.tags.entry(tag).or_default(),
            Target::Host(host) => self.hosts.entry(host).or_default(),
            Target::Prefix { host, path } => {
                let paths = self.prefixes.entry(host).or_default();
                paths.entry(path).or_default()
            }
            Target::Everything => &mut self.everything,
        };
        let index = zoned.iter().position(|(known, _)| *known == zone);
        if let Some((_, marks)) = index.and_then(|index| zoned.get_mut(index)) {
            marks.add(mode, generation, now);
        } else {
            let mut marks = Marks::default();
            marks.add(mode, generation, now);
            zoned.push((zone, marks));
        }
    }

    /// What the purges say about `subject`, whose fetch began when `stored` was the last purge.
    pub fn verdict(&self, subject: &Subject<'_>, stored: Generation) -> Verdict {
        if self.is_empty() {
            return Verdict::Keep;
        }
        let keys = self.keys.get(subject.key);
        let hosts = self.hosts.get(subject.host);
        let tags = subject.tags.iter().filter_map(|tag| self.tags.get(tag));
        let prefixes = self
            .prefixes
            .get(subject.host)
            .into_iter()
            .flatten()
            .filter(|(path, _)| subject.path.starts_with(&***path))
            .map(|(_, zoned)| zoned);
        let mut since: Option<SystemTime> = None;
        let reached = std::iter::once(&self.everything)
            .chain(keys)
            .chain(hosts)
            .chain(tags)
            .chain(prefixes)
            .flatten()
            .filter(|(zone, _)| zone.as_deref().is_none_or(|zone| zone == subject.zone));
        for (_, marks) in reached {
            match marks.verdict(stored) {
                Verdict::Gone => return Verdict::Gone,
                Verdict::Stale(at) => since = Some(since.map_or(at, |since| since.min(at))),
                Verdict::Keep => {}
            }
        }
        since.map_or(Verdict::Keep, Verdict::Stale)
    }

    /// Whether no purge is in force.
    pub fn is_empty(&self) -> bool {
        self.everything.is_empty()
            && self.keys.is_empty()
            && self.tags.is_empty()
            && self.prefixes.is_empty()
            && self.hosts.is_empty()
    }

    /// Drops the purges up to `upto`, itself included: to be called when every response that is
    /// stored, or being fetched, began at `upto` or later.
    pub fn forget(&mut self, upto: Generation) {
        forget_in(&mut self.keys, upto);
        forget_in(&mut self.tags, upto);
        forget_in(&mut self.hosts, upto);
        self.prefixes.retain(|_, paths| {
            forget_in(paths, upto);
            !paths.is_empty()
        });
        forget_zoned(&mut self.everything, upto);
    }

    /// Drops the hard purges of single keys up to `upto` but after `after`: to be called when all that
    /// they reach is removed, wherever it was stored, and no fetch from before `upto` is under way.
    pub fn forget_keys(&mut self, after: Generation, upto: Generation) {
        self.keys.retain(|_, zoned| {
            zoned.retain_mut(|(_, marks)| {
                let kept = |generation| generation <= after || generation > upto;
                marks.hard = marks.hard.filter(|(generation, _)| kept(*generation));
                marks.hard.is_some() || !marks.soft.is_empty()
            });
            !zoned.is_empty()
        });
    }

    /// Whether a response for `subject` that was fetched from `since` on is as current as one fetched
    /// now. Its tags are not known yet, so every later purge by tag counts against it.
    pub fn spares(&self, subject: &Subject<'_>, since: Generation) -> bool {
        let by_tag = self.tags.values().flatten();
        let mut by_tag = by_tag.flat_map(|(_, marks)| marks.all());
        !by_tag.any(|(_, generation, _)| generation > since)
            && self.verdict(subject, since) == Verdict::Keep
    }

    /// The purges in force, in order, to write them down anew.
    pub fn records(&self) -> Vec<Record> {
        let mut found = Vec::new();
        let mut take = |target: &Target, zoned: &Zoned| {
            for (zone, marks) in zoned {
                for (mode, generation, at) in marks.all() {
                    found.push(Record {
                        generation,
                        at,
                        mode,
                        scope: Scope {
                            zone: zone.clone(),
                            target: target.clone(),
                        },
                    });
                }
            }
        };
        for (key, zoned) in &self.keys {
            take(&Target::Key(key.clone()), zoned);
        }
        for (tag, zoned) in &self.tags {
            take(&Target::Tag(tag.clone()), zoned);
        }
        for (host, zoned) in &self.hosts {
            take(&Target::Host(host.clone()), zoned);
        }
        for (host, paths) in &self.prefixes {
            for (path, zoned) in paths {
                let (host, path) = (host.clone(), path.clone());
                take(&Target::Prefix { host, path }, zoned);
            }
        }
        take(&Target::Everything, &self.everything);
        found.sort_by_key(|record| record.generation);
        found
    }
}

fn forget_in<K: Eq + Hash>(entries: &mut HashMap<K, Zoned>, upto: Generation) {
    entries.retain(|_, zoned| {
        forget_zoned(zoned, upto);
        !zoned.is_empty()
    });
}

fn forget_zoned(zoned: &mut Zoned, upto: Generation) {
    zoned.retain_mut(|(_, marks)| {
        marks.hard = marks.hard.filter(|(generation, _)| *generation > upto);
        marks.soft.retain(|(generation, _)| *generation > upto);
        marks.hard.is_some() || !marks.soft.is_empty()
    });
}

impl Marks {
    fn add(&mut self, mode: Mode, generation: Generation, now: SystemTime) {
        match mode {
            Mode::Hard => {
                if self.hard.is_none_or(|(last, _)| last < generation) {
                    self.hard = Some((generation, now));
                }
            }
            Mode::Soft => {
                let place = self.soft.partition_point(|(other, _)| *other < generation);
                // Files may be read more than once.
                if self
                    .soft
                    .get(place)
                    .is_none_or(|(other, _)| *other != generation)
                {
                    self.soft.insert(place, (generation, now));
                }
            }
        }
        if let Some((hard, _)) = self.hard {
            self.soft.retain(|(generation, _)| *generation > hard);
        }
    }

    fn verdict(&self, stored: Generation) -> Verdict {
        if self.hard.is_some_and(|(generation, _)| generation > stored) {
            return Verdict::Gone;
        }
        let after = self
            .soft
            .partition_point(|(generation, _)| *generation <= stored);
        self.soft
            .get(after)
            .map_or(Verdict::Keep, |(_, at)| Verdict::Stale(*at))
    }

    fn all(&self) -> impl Iterator<Item = (Mode, Generation, SystemTime)> + '_ {
        let hard = self
            .hard
            .iter()
            .map(|(generation, at)| (Mode::Hard, *generation, *at));
        let soft = self
            .soft
            .iter()
            .map(|(generation, at)| (Mode::Soft, *generation, *at));
        hard.chain(soft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn scope(zone: Option<&str>, target: Target) -> Scope {
        Scope {
            zone: zone.map(Box::from),
            target,
        }
    }

    fn subject<'a>(path: &'a str, tags: &'a [Box<str>]) -> Subject<'a> {
        Subject {
            zone: "shop",
            host: "a.test",
            path,
            key: b"key",
            tags,
        }
    }

    #[test]
    fn a_fetch_that_began_before_a_purge_is_reached_by_it() {
        let mut journal = Journal::default();
        assert!(journal.is_empty());
        journal.record(
            scope(None, Target::Key((*b"key").into())),
            Mode::Hard,
            Generation(5),
            at(1),
        );
        assert!(!journal.is_empty());
        let subject = subject("/", &[]);
        assert_eq!(journal.verdict(&subject, Generation(4)), Verdict::Gone);
        assert_eq!(journal.verdict(&subject, Generation(5)), Verdict::Keep);
    }

    #[test]
    fn stale_counts_from_the_first_soft_purge_and_a_hard_one_outdoes_it() {
        let mut journal = Journal::default();
        let tag = || scope(None, Target::Tag("t".into()));
        journal.record(tag(), Mode::Soft, Generation(2), at(20));
        journal.record(tag(), Mode::Soft, Generation(4), at(40));
        let tags = ["t".into()];
        let subject = subject("/", &tags);
        let verdict = |journal: &Journal, stored| journal.verdict(&subject, Generation(stored));
        assert_eq!(verdict(&journal, 1), Verdict::Stale(at(20)));
        assert_eq!(verdict(&journal, 2), Verdict::Stale(at(40)));
        assert_eq!(verdict(&journal, 4), Verdict::Keep);
        journal.record(tag(), Mode::Hard, Generation(3), at(30));
        assert_eq!(verdict(&journal, 2), Verdict::Gone);
        assert_eq!(verdict(&journal, 3), Verdict::Stale(at(40)));
    }

    #[test]
    fn hard_purges_of_keys_can_be_forgotten_before_others() {
        let mut journal = Journal::default();
        let key = |key: &[u8]| scope(None, Target::Key(key.into()));
        journal.record(key(b"key"), Mode::Hard, Generation(1), at(1));
        journal.record(key(b"other"), Mode::Hard, Generation(2), at(2));
        journal.record(key(b"key"), Mode::Soft, Generation(3), at(3));
        let tag = scope(None, Target::Tag("t".into()));
        journal.record(tag, Mode::Hard, Generation(2), at(2));
        journal.record(key(b"late"), Mode::Hard, Generation(4), at(4));
        journal.forget_keys(Generation(1), Generation(3));
        let left = journal.records();
        let left: Vec<_> = left.iter().map(|record| record.generation.0).collect();
        assert_eq!(left, [1, 2, 3, 4]);
        journal.forget_keys(Generation(0), Generation(4));
        let left = journal.records();
        let left: Vec<_> = left.iter().map(|record| record.generation.0).collect();
        assert_eq!(left, [2, 3]);
    }

    #[test]
    fn a_fetch_is_spared_by_purges_of_other_things_but_not_by_those_of_tags() {
        let mut journal = Journal::default();
        let (subject, other) = (subject("/", &[]), Target::Key((*b"other").into()));
        journal.record(scope(None, other), Mode::Hard, Generation(2), at(2));
        assert!(journal.spares(&subject, Generation(1)));
        let host = scope(None, Target::Host("a.test".into()));
        journal.record(host, Mode::Soft, Generation(3), at(3));
        assert!(!journal.spares(&subject, Generation(2)));
        assert!(journal.spares(&subject, Generation(3)));
        let tag = scope(None, Target::Tag("t".into()));
        journal.record(tag, Mode::Hard, Generation(4), at(4));
        assert!(!journal.spares(&subject, Generation(3)));
    }

    #[test]
    fn purging_everything_makes_older_purges_superfluous() {
        let mut journal = Journal::default();
        for generation in 1..100 {
            let tag = generation.to_string().into();
            let tag = scope(None, Target::Tag(tag));
            journal.record(tag, Mode::Soft, Generation(generation), at(generation));
        }
        let everything = scope(None, Target::Everything);
        journal.record(everything, Mode::Hard, Generation(100), at(100));
        assert_eq!(journal.records().len(), 1);
        assert_eq!(
            journal.verdict(&subject("/", &[]), Generation(99)),
            Verdict::Gone
        );
    }

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![
            "[ab]".prop_map(|key| Target::Key(key.into_bytes().into())),
            "[ab]".prop_map(|tag| Target::Tag(tag.into())),
            ("[ab]", "/[ab]{0,2}").prop_map(|(host, path)| Target::Prefix {
                host: host.into(),
                path: path.into()
            }),
            "[ab]".prop_map(|host| Target::Host(host.into())),
            Just(Target::Everything),
        ]
    }

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let one = (
            target(),
            proptest::option::of("[ab]"),
            any::<bool>(),
            1..20_u64,
        );
        proptest::collection::vec(one, 0..12).prop_map(|many| {
            let records = many
                .into_iter()
                .map(|(target, zone, soft, generation)| Record {
                    generation: Generation(generation),
                    at: at(generation),
                    mode: if soft { Mode::Soft } else { Mode::Hard },
                    scope: scope(zone.as_deref(), target),
                });
            records.collect()
        })
    }

    fn journal(records: &[Record]) -> Journal {
        let mut journal = Journal::default();
        for record in records.iter().cloned() {
            journal.record(record.scope, record.mode, record.generation, record.at);
        }
        journal
    }

    /// What the records say when each is looked at.
    fn naive(records: &[Record], subject: &Subject<'_>, stored: Generation) -> Verdict {
        let reaching: Vec<_> = records
            .iter()
            .filter(|record| record.generation > stored && record.scope.covers(subject))
            .collect();
        if reaching.iter().any(|record| record.mode == Mode::Hard) {
            return Verdict::Gone;
        }
        let since = reaching.iter().map(|record| record.at).min();
        since.map_or(Verdict::Keep, Verdict::Stale)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn the_journal_says_what_its_records_say(
            records in records(),
            (zone, host, key) in ("[ab]", "[ab]", "[ab]"),
            path in "/[ab]{0,3}",
            tags in proptest::collection::vec("[ab]", 0..3),
            stored in 0..20_u64,
            forgotten in 0..20_u64,
        ) {
            let tags: Vec<Box<str>> = tags.into_iter().map(String::into_boxed_str).collect();
            let subject = Subject {
                zone: &zone,
                host: &host,
                path: &path,
                key: key.as_bytes(),
                tags: &tags,
            };
            let stored = Generation(stored);
            let mut journal = journal(&records);
            let expected = naive(&records, &subject, stored);
            prop_assert_eq!(journal.verdict(&subject, stored), expected);
            let again = self::journal(&journal.records());
            prop_assert_eq!(again.verdict(&subject, stored), expected);
            journal.forget(Generation(forgotten));
            if stored >= Generation(forgotten) {
                prop_assert_eq!(journal.verdict(&subject, stored), expected);
            }
        }

        #[test]
        fn records_are_read_back_as_they_were_written(records in records()) {
            for record in records {
                let line = serde_json::to_string(&record).unwrap();
                prop_assert!(!line.contains('\n'));
                prop_assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
            }
        }

        #[test]
        fn nothing_is_left_when_all_is_forgotten(records in records()) {
            let mut journal = journal(&records);
            journal.forget(Generation(20));
            prop_assert!(journal.is_empty());
            prop_assert!(journal.records().is_empty());
        }
    }
}
