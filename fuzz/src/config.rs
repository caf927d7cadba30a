//! The configuration file and the lists beside it.

use seawall::rules::{List, ListFormat};

use super::text;

/// Faults are told, wherever they are.
pub(super) fn config(data: &[u8]) {
    let Some(source) = text(data) else { return };
    let env = |name: &str| (name == "SET").then(|| "value".to_owned());
    if let Err(faults) = seawall::config::parse("fuzz.toml", source, &env) {
        assert!(!faults.list().is_empty());
        assert!(!faults.to_string().is_empty());
    }
}

/// Faults have their line, and what is read holds something or nothing.
pub(super) fn list(data: &[u8]) {
    let Some(source) = text(data) else { return };
    for format in [ListFormat::Netset, ListFormat::SpamhausDrop] {
        match format.items(source) {
            Ok(items) => {
                let items = items.iter().map(|(line, item)| (*line, item.as_ref()));
                let _ = List::new(None, items).map(|list| list.without([], true));
            }
            Err(faults) => assert!(!faults.is_empty()),
        }
    }
    match List::of_lines(None, source) {
        Ok(list) => {
            let empty = source.lines().all(|line| {
                let line = line.trim();
                line.is_empty() || line.starts_with('#')
            });
            assert_eq!(list.kind().is_none(), empty);
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            let lines = source.lines().count();
            assert!(
                faults
                    .iter()
                    .all(|fault| (1..=lines).contains(&fault.place))
            );
        }
    }
}
