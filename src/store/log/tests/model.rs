//! Any sequence of changes and restarts, against a map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::{Options, Put, Record};
use super::support::{killed, open_with, options, record, stored_in};

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8, usize),
    Retract(u8, u8),
    RetractAll(u8),
    Restart,
    Kill,
    Capacity(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..12_u8, 0..2_u8, 0..60_000_usize).prop_map(|(k, s, l)| Step::Put(k, s, l)),
        2 => (0..12_u8, 0..2_u8).prop_map(|(k, s)| Step::Retract(k, s)),
        1 => (0..12_u8).prop_map(Step::RetractAll),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
        1 => (0..5_u64).prop_map(Step::Capacity),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_is_the_newest_and_what_must_be_there_is(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let small = Options { segment: Some(128 << 10), capacity: 1 << 20, ..options() };
        let mut directory = tempfile::tempdir().unwrap();
        let mut log = open_with(directory.path(), small.clone());
        let mut model: HashMap<(u8, u8), u64> = HashMap::new();
        let mut reclaimed = false;
        for (version, step) in (1..).zip(steps) {
            match step {
                Step::Put(key, slot, length) => {
                    let record = Record {
                        slot: slot.into(),
                        ..record(&format!("key {key}"), version, length)
                    };
                    let put = log.put(record);
                    let written = matches!(put, Put::Queued(receipt) if receipt.wait().is_ok());
                    if written {
                        model.insert((key, slot), version);
                    } else {
                        model.remove(&(key, slot));
                    }
                }
                Step::Retract(key, slot) => {
                    let primary = format!("key {key}");
                    prop_assert!(log.retract(primary.as_bytes(), slot.into()));
                    model.remove(&(key, slot));
                }
                Step::RetractAll(key) => {
                    let primary = format!("key {key}");
                    prop_assert!(log.retract_all(primary.as_bytes()));
                    model.retain(|(k, _), _| *k != key);
                }
                Step::Restart => {
                    log.close();
                    log = open_with(directory.path(), small.clone());
                }
                Step::Kill => {
                    let copy = killed(directory.path());
                    log.close();
                    directory = copy;
                    log = open_with(directory.path(), small.clone());
                }
                Step::Capacity(quarters) => {
                    log.set_capacity(quarters * (256 << 10));
                    reclaimed = true;
                }
            }
            reclaimed |= log.statistics().reclaimed > 0;
            for key in 0..12 {
                for slot in 0..2 {
                    let found = stored_in(&log, &format!("key {key}"), slot.into());
                    let expected = model.get(&(key, slot)).copied();
                    if reclaimed {
                        prop_assert!(found.is_none() || found == expected);
                    } else {
                        prop_assert_eq!(found, expected);
                    }
                }
            }
        }
    }
}
