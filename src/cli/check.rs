//! `seawall check FILE`.

use std::path::Path;
use std::process::ExitCode;

use super::fail;
use crate::config::Config;
use crate::edge::Certificates;
use crate::server::{Runtime, load_config};

/// Prints a one-line summary, or every fault.
pub(super) fn run(file: &Path) -> ExitCode {
    let config = match load_config(file) {
        Ok(config) => config,
        Err(faults) => return fail(&faults.to_string()),
    };
    let summary = summary(&config);
    match check_files(config) {
        Ok(()) => {
            println!("{}: ok: {summary}", file.display());
            ExitCode::SUCCESS
        }
        Err(why) => fail(&format!("{}: {why}", file.display())),
    }
}

/// The files that the configuration names must be usable as well.
fn check_files(config: Config) -> Result<(), String> {
    for files in config
        .listeners
        .iter()
        .filter_map(|listener| listener.tls.as_ref())
    {
        Certificates::load(files)?;
    }
    Runtime::prepare(config, None).map(drop)
}

fn summary(config: &Config) -> String {
    let count =
        |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let servers = config.pools.iter().map(|pool| pool.servers.len()).sum();
    let rules = config
        .zones
        .iter()
        .map(|zone| zone.rules.cache_rules.rules.rules().len())
        .sum();
    [
        count(config.listeners.len(), "listener"),
        count(config.pools.len(), "pool"),
        count(servers, "server"),
        count(config.zones.len(), "zone"),
        count(rules, "cache rule"),
    ]
    .join(", ")
}
