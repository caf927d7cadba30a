//! Every fuzz target for a moment, with the stable toolchain: its seeds, then inputs made from them
//! at random. `FUZZ_SEED` and `FUZZ_COUNT` choose where to begin and how many, `FUZZ_TARGET` the
//! targets with that in their names; CONTRIBUTING.md says how to fuzz in earnest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail as it likes"
)]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a package of its own when it is fuzzed")]
mod targets;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;

const LONGEST: usize = 2048;

#[test]
fn no_target_fails_on_its_seeds_or_on_what_is_made_of_them() {
    let first: u64 = setting("FUZZ_SEED", 1);
    let count: u64 = setting("FUZZ_COUNT", 2000);
    let chosen = setting("FUZZ_TARGET", String::new());
    let mut failures = Vec::new();
    for (name, _) in targets::TARGETS
        .iter()
        .filter(|(name, _)| name.contains(&chosen))
    {
        let seeds = seeds(name);
        let made = (first..first + count).map(|seed| mutated(&seeds, &mut Random::new(seed)));
        let failing = seeds
            .iter()
            .cloned()
            .chain(made)
            .find(|input| fails(name, input));
        failures.extend(failing.map(|input| format!("{name} on b\"{}\"", input.escape_ascii())));
        println!(
            "{name}: {} seeds, then {count} inputs from seed {first}",
            seeds.len()
        );
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_target_has_seeds_and_a_binary() {
    let listed: BTreeSet<String> = targets::TARGETS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let manifest = std::fs::read_to_string(fuzz("Cargo.toml")).unwrap();
    for name in &listed {
        assert!(!seeds(name).is_empty(), "{name} has no seeds");
        let source = std::fs::read_to_string(fuzz(&format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("run(\"{name}\", data)")), "{name}");
        let path = format!("path = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&path), "fuzz/Cargo.toml lacks {name}");
    }
    for folder in ["seeds", "fuzz_targets"] {
        let there = names(&fuzz(folder));
        assert_eq!(
            there, listed,
            "fuzz/{folder} and the list of targets differ"
        );
    }
}

fn fails(name: &str, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| targets::run(name, input))).is_err()
}

fn setting<T: FromStr + Display>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number"))
    })
}

// --- Inputs --------------------------------------------------------------------

fn fuzz(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(path)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = fuzz("seeds").join(name);
    names(&folder)
        .iter()
        .map(|file| std::fs::read(folder.join(file)).unwrap())
        .collect()
}

/// A seed with a few changes: what libFuzzer does, without the coverage that guides it.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.pick(seeds).clone();
    for _ in 0..=random.below(5) {
        let at = random.below(input.len() + 1);
        let to = at + random.below((input.len() - at).min(16) + 1);
        match random.below(6) {
            0 => input.insert(at, random.byte()),
            1 => drop(input.drain(at..to)),
            2 => input.truncate(at),
            3 => {
                let again = input[at..to].to_vec();
                let place = random.below(input.len() + 1);
                input.splice(place..place, again);
            }
            4 => {
                let other = random.pick(seeds);
                let from = random.below(other.len() + 1);
                let end = from + random.below(other.len() - from + 1);
                input.splice(at..to, other[from..end].iter().copied());
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.byte();
                }
            }
        }
        input.truncate(LONGEST);
    }
    input
}

/// `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }

    /// Any byte, the ones that grammars care about more often.
    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b" \t\r\n\"',;:=*-/\\.%0159azAZ{}[]()\0\x7f\x80\xff";
        if self.below(4) == 0 {
            self.next().to_le_bytes()[0]
        } else {
            *self.pick(TELLING)
        }
    }
}
