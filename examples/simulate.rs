//! Zipf traffic over N edge nodes, with and without tiers: what reaches the origin, what each tier
//! answers, how busy the busiest node of a tier is, and how long a purge takes to be everywhere.
//!
//! ```text
//! cargo run --release --example simulate -- --nodes 10,100,1000
//! ```
//!
//! Every node has a cache of so many objects, with the policy of the memory tier. A response is fresh for
//! `ttl` seconds from when the origin made it, on whatever tier it lies: Age adds up. A fetch takes no
//! time here, so that requests for one key at the same moment are one fetch, as collapsing makes them.
//! Everything is seeded, so that a run repeats; docs/scale.md says what came out, and what it means.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a simulation, not a library"
)]

use clap::{Parser, ValueEnum};
use quick_cache::unsync::Cache;

#[derive(Clone, Parser)]
struct Plan {
    /// Numbers of edge nodes
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000")]
    nodes: Vec<usize>,
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "flat,shield,shards,both"
    )]
    topology: Vec<Topology>,
    /// Shields, among which keys are divided
    #[arg(long, default_value_t = 3)]
    shields: usize,
    /// Objects of the site
    #[arg(long, default_value_t = 100_000)]
    objects: usize,
    /// Exponent of the Zipf distribution
    #[arg(long, default_value_t = 0.9)]
    exponent: f64,
    /// Objects that an edge node has room for
    #[arg(long, default_value_t = 10_000)]
    room: usize,
    /// Objects that a shield has room for
    #[arg(long, default_value_t = 100_000)]
    shield_room: usize,
    /// Requests a second to each edge node
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Seconds of traffic that are counted; as many come before and are not
    #[arg(long, default_value_t = 300.0)]
    seconds: f64,
    /// How long a response is fresh, in seconds
    #[arg(long, default_value_t = 300.0)]
    ttl: f64,
    /// Purges of which the propagation is drawn
    #[arg(long, default_value_t = 1_000)]
    purges: usize,
    /// Median of the time from a node to the shared stream or back, in milliseconds
    #[arg(long, default_value_t = 0.5)]
    way: f64,
    /// Spread of that time: the standard deviation of its logarithm
    #[arg(long, default_value_t = 0.5)]
    spread: f64,
    /// What it takes the stream to serve one reader, in microseconds
    #[arg(long, default_value_t = 5.0)]
    reader: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Topology {
    /// Every node asks the origin
    Flat,
    /// Every node asks the shield that has the key
    Shield,
    /// Every node asks the node that has the key
    Shards,
    /// Every node asks the node that has the key, and that the shield that has it
    Both,
}

impl Topology {
    const fn words(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Shield => "shielded",
            Self::Shards => "sharded siblings",
            Self::Both => "sharded siblings and shields",
        }
    }
}

fn main() {
    let plan = Plan::parse();
    let zipf = Zipf::new(plan.objects, plan.exponent);
    println!(
        "| edge nodes | topology | requests | answered by the edge node | by its sibling | by a shield | origin requests | of a flat network's | busiest upper node, requests/s |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|");
    for &nodes in &plan.nodes {
        let mut flat = None;
        for &topology in &plan.topology {
            let told = Network::new(&plan, nodes, topology).run(&plan, &zipf);
            let flat = *flat.get_or_insert(told.origin);
            let share = |count: u64| format!("{:.1} %", percent(count, told.requests));
            println!(
                "| {nodes} | {} | {} | {} | {} | {} | {} | {:.1} % | {:.0} |",
                topology.words(),
                told.requests,
                share(told.edge),
                share(told.sibling),
                share(told.shield),
                told.origin,
                percent(told.origin, flat),
                told.busiest as f64 / plan.seconds,
            );
        }
    }
    println!(
        "\n| edge nodes | a purge is everywhere after: p50 | p99 | longest | work for the stream per purge |"
    );
    println!("|---:|---:|---:|---:|---:|");
    for &nodes in &plan.nodes {
        let times = propagation(&plan, nodes);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!(
            "| {nodes} | {:.1} ms | {:.1} ms | {:.1} ms | {:.2} ms |",
            at(0.5),
            at(0.99),
            at(1.0),
            nodes as f64 * plan.reader / 1000.0,
        );
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// What was counted.
#[derive(Default)]
struct Told {
    requests: u64,
    edge: u64,
    sibling: u64,
    shield: u64,
    origin: u64,
    /// Requests to the busiest of those that are asked by others.
    busiest: u64,
}

/// One cache: when each response in it ends being fresh.
struct Node {
    fresh_until: Cache<u32, f64>,
    asked: u64,
}

impl Node {
    fn new(room: usize) -> Self {
        Self {
            fresh_until: Cache::new(room),
            asked: 0,
        }
    }

    fn find(&mut self, key: u32, now: f64) -> Option<f64> {
        self.fresh_until
            .get(&key)
            .copied()
            .filter(|until| *until > now)
    }
}

struct Network {
    edges: Vec<Node>,
    shields: Vec<Node>,
    /// Which edge node, and which shield, has a key.
    edge_of: Vec<u32>,
    shield_of: Vec<u32>,
    topology: Topology,
    told: Told,
}

impl Network {
    fn new(plan: &Plan, nodes: usize, topology: Topology) -> Self {
        let owners = |count: usize| (0..plan.objects).map(|key| owner(key, count)).collect();
        Self {
            edges: (0..nodes).map(|_| Node::new(plan.room)).collect(),
            shields: (0..plan.shields)
                .map(|_| Node::new(plan.shield_room))
                .collect(),
            edge_of: owners(nodes),
            shield_of: owners(plan.shields),
            topology,
            told: Told::default(),
        }
    }

    fn run(mut self, plan: &Plan, zipf: &Zipf) -> Told {
        let mut random = Random(0x5EA_3A11);
        let per_second = plan.rate * self.edges.len() as f64;
        let count = (2.0 * plan.seconds * per_second) as u64;
        for number in 0..count {
            if number == count / 2 {
                self.forget_counts();
            }
            let now = number as f64 / per_second;
            let edge = random.below(self.edges.len());
            let key = zipf.draw(&mut random);
            self.request(edge, key, now, plan.ttl);
        }
        let asked = self
            .edges
            .iter()
            .chain(&self.shields)
            .map(|node| node.asked);
        self.told.busiest = asked.max().unwrap_or_default();
        self.told
    }

    fn forget_counts(&mut self) {
        self.told = Told::default();
        for node in self.edges.iter_mut().chain(&mut self.shields) {
            node.asked = 0;
        }
    }

    fn request(&mut self, edge: usize, key: u32, now: f64, ttl: f64) {
        self.told.requests += 1;
        if self.edges[edge].find(key, now).is_some() {
            self.told.edge += 1;
            return;
        }
        let until = self.beyond(edge, key, now, ttl);
        self.edges[edge].fresh_until.insert(key, until);
    }

    /// Until when what an edge node gets from elsewhere is fresh.
    fn beyond(&mut self, edge: usize, key: u32, now: f64, ttl: f64) -> f64 {
        let sibling = self.edge_of[key as usize] as usize;
        if matches!(self.topology, Topology::Shards | Topology::Both) && sibling != edge {
            self.edges[sibling].asked += 1;
            if let Some(until) = self.edges[sibling].find(key, now) {
                self.told.sibling += 1;
                return until;
            }
            let until = self.above(key, now, ttl);
            self.edges[sibling].fresh_until.insert(key, until);
            return until;
        }
        self.above(key, now, ttl)
    }

    /// The same, for who asks shields and origin.
    fn above(&mut self, key: u32, now: f64, ttl: f64) -> f64 {
        if matches!(self.topology, Topology::Flat | Topology::Shards) {
            self.told.origin += 1;
            return now + ttl;
        }
        let shield = &mut self.shields[self.shield_of[key as usize] as usize];
        shield.asked += 1;
        if let Some(until) = shield.find(key, now) {
            self.told.shield += 1;
            return until;
        }
        self.told.origin += 1;
        shield.fresh_until.insert(key, now + ttl);
        now + ttl
    }
}

/// Times until purges were in force on every node, in milliseconds, in order: the way to the stream, the
/// readers before this one, and the way to it.
fn propagation(plan: &Plan, nodes: usize) -> Vec<f64> {
    let mut random = Random(0xB10C);
    let mut times: Vec<f64> = (0..plan.purges)
        .map(|_| {
            let up = random.log_normal(plan.way, plan.spread);
            let arrivals = (1..=nodes).map(|reader| {
                let served = reader as f64 * plan.reader / 1000.0;
                up + served + random.log_normal(plan.way, plan.spread)
            });
            arrivals.fold(0.0, f64::max)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Numbers from 0, the most popular, on.
struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    fn new(objects: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=objects).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self {
            sums: sums.collect(),
        }
    }

    fn draw(&self, random: &mut Random) -> u32 {
        let point = random.fraction() * self.sums.last().unwrap();
        let rank = self.sums.partition_point(|below| *below <= point);
        rank.min(self.sums.len() - 1) as u32
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.fraction() * bound as f64) as usize
    }

    /// By Box and Muller.
    fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        let (radius, angle) = (self.fraction().max(f64::MIN_POSITIVE), self.fraction());
        let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
        median * (spread * normal).exp()
    }
}

/// Which of `count` nodes has `key`.
fn owner(key: usize, count: usize) -> u32 {
    let weight = |node: usize| Random(((key as u64) << 32) | node as u64).next();
    (0..count)
        .max_by_key(|node| weight(*node))
        .unwrap_or_default() as u32
}
