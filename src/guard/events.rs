//! What happened: security events by what they have in common, in bounded memory, with as many lines in the
//! log as a flood leaves readable. No value that a client sent is kept, only the template of its path.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::decision::{Action, Module};

/// Groups kept; what comes beyond them is told of without client and path.
const MOST_GROUPS: usize = 10_000;
/// How long a group is kept after its last event.
const KEPT: Duration = Duration::from_hours(1);
/// Lines a second for all groups together.
const MOST_LINES: u32 = 100;
/// Lines a second for one group.
const MOST_LINES_OF_ONE: u32 = 5;

/// What events have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// The zone.
    pub zone: Arc<str>,
    /// The part of the guard.
    pub module: Module,
    /// The rule.
    pub rule: Arc<str>,
    /// Where it is written, or nothing.
    pub rule_at: Arc<str>,
    /// What was done, or would have been.
    pub action: Action,
    /// Whether nothing was.
    pub dry_run: bool,
    /// The network of the client; `None` beyond the most groups.
    pub client: Option<IpNet>,
    /// The template of the path; `*` beyond the most groups.
    pub path: Arc<str>,
}

/// How often it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Events.
    pub count: u64,
    /// When the first was.
    pub first: SystemTime,
    /// When the last was.
    pub last: SystemTime,
    /// The name of the last request, to be found in the access log.
    pub request_id: String,
    /// Events that no line has told of.
    untold: u64,
    /// Since when there are some.
    untold_since: SystemTime,
    lines: Lines,
}

/// Lines within a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    second: u64,
    count: u32,
}

impl Lines {
    fn take(&mut self, second: u64, most: u32) -> bool {
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        let room = self.count < most;
        self.count += u32::from(room);
        room
    }
}

/// All groups.
#[derive(Debug, Default)]
pub struct Events {
    groups: HashMap<Group, Figures>,
    lines: Lines,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub group: Group,
    /// Events since the last line about it, this one included.
    pub count: u64,
    /// When the last was.
    pub last: SystemTime,
    /// The name of the last request.
    pub request_id: String,
}

impl Events {
    /// Adds an event; the line to be written about it, when there is room for one.
    pub fn add(&mut self, mut group: Group, request_id: &str, now: SystemTime) -> Option<Line> {
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&group) {
            group.client = None;
            group.path = "*".into();
        }
        let second = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let figures = self.groups.entry(group.clone()).or_insert(Figures {
            count: 0,
            first: now,
            last: now,
            request_id: String::new(),
            untold: 0,
            untold_since: now,
            lines: Lines::default(),
        });
        figures.count += 1;
        if figures.untold == 0 {
            figures.untold_since = now;
        }
        figures.untold += 1;
        figures.last = now;
        request_id.clone_into(&mut figures.request_id);
        let room = figures.lines.take(second, MOST_LINES_OF_ONE);
        (room && self.lines.take(second, MOST_LINES)).then(|| figures.tell(group))
    }

    /// Lines about what no line has told of, as many as the log takes, what waits longest first; the others
    /// have their turn next. Forgets what is long ago. To be called every few seconds.
    pub fn sweep(&mut self, now: SystemTime) -> Vec<Line> {
        let mut untold: Vec<_> = self
            .groups
            .iter_mut()
            .filter(|(_, figures)| figures.untold > 0)
            .collect();
        untold.sort_by_key(|(_, figures)| figures.untold_since);
        let most = usize::try_from(MOST_LINES).unwrap_or(usize::MAX);
        let untold = untold.into_iter().take(most);
        let mut lines: Vec<Line> = untold
            .map(|(group, figures)| figures.tell(group.clone()))
            .collect();
        self.groups.retain(|_, figures| {
            let since = now.duration_since(figures.last).unwrap_or_default();
            figures.untold > 0 || since < KEPT
        });
        lines.sort_by_key(|line| std::cmp::Reverse(line.count));
        lines
    }

    /// All groups, those with the most events first.
    pub fn all(&self) -> Vec<(Group, Figures)> {
        let groups = self.groups.iter();
        let mut all: Vec<_> = groups
            .map(|(group, figures)| (group.clone(), figures.clone()))
            .collect();
        all.sort_by_key(|(_, figures)| std::cmp::Reverse((figures.count, figures.last)));
        all
    }
}

impl Figures {
    fn tell(&mut self, group: Group) -> Line {
        Line {
            group,
            count: std::mem::take(&mut self.untold),
            last: self.last,
            request_id: self.request_id.clone(),
        }
    }
}

/// The network that stands for a client: 24 bits of an IPv4 address, 64 of an IPv6 address.
pub fn network(client: IpAddr) -> Option<IpNet> {
    let client = client.to_canonical();
    let length = if client.is_ipv4() { 24 } else { 64 };
    IpNet::new(client, length)
        .ok()
        .map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(path: &str) -> Group {
        Group {
            zone: "shop".into(),
            module: Module::CustomRules,
            rule: "php".into(),
            rule_at: "seawall.toml:7".into(),
            action: Action::Block,
            dry_run: false,
            client: network([203, 0, 113, 9].into()),
            path: path.into(),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn clients_are_told_of_by_their_network() {
        for (client, expected) in [
            ("203.0.113.9", "203.0.113.0/24"),
            ("::ffff:203.0.113.9", "203.0.113.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            let network = network(client.parse().unwrap()).unwrap();
            assert_eq!(network.to_string(), expected);
        }
    }

    #[test]
    fn a_flood_leaves_a_few_lines_and_no_event_is_lost() {
        let mut events = Events::default();
        let told: Vec<_> = (0..1000)
            .filter_map(|_| events.add(group("/a"), "r", at(1)))
            .collect();
        assert_eq!(told.len(), 5);
        let rest = events.sweep(at(2));
        let sum: u64 = told.iter().chain(&rest).map(|line| line.count).sum();
        assert_eq!(sum, 1000);
        assert!(events.sweep(at(3)).is_empty());
    }

    #[test]
    fn what_one_sweep_has_no_room_for_the_next_ones_tell() {
        let mut events = Events::default();
        let mut told = 0;
        for number in 0..1000 {
            let line = events.add(group(&format!("/{number}")), "r", at(1));
            told += line.map_or(0, |line| line.count);
        }
        let mut sweeps = 0;
        loop {
            let lines = events.sweep(at(2));
            if lines.is_empty() {
                break;
            }
            assert!(lines.len() <= 100);
            told += lines.iter().map(|line| line.count).sum::<u64>();
            sweeps += 1;
        }
        assert_eq!((told, sweeps), (1000, 9));
    }

    #[test]
    fn many_groups_take_bounded_memory_and_are_forgotten() {
        let mut events = Events::default();
        for number in 0..50_000 {
            events.add(group(&format!("/{number}")), "r", at(1));
        }
        assert!(events.all().len() <= MOST_GROUPS + 1);
        let sum: u64 = events.all().iter().map(|(_, figures)| figures.count).sum();
        assert_eq!(sum, 50_000);
        while !events.sweep(at(10 + KEPT.as_secs())).is_empty() {}
        assert!(events.all().is_empty());
    }
}
