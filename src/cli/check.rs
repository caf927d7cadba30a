//! `seawall check FILE`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::fail;
use crate::clock;
use crate::config::diagnostics::{did_you_mean, position};
use crate::config::{Config, Diagnostics};
use crate::edge::Certificates;
use crate::lint::{CODES, Code, Findings, Severity, lint};
use crate::server::{Runtime, load_config};

/// Exit status where the file is good and something is odd about it.
const FOUND: u8 = 2;

#[derive(Args)]
pub(super) struct CheckArguments {
    /// The configuration file
    #[arg(required_unless_present_any = ["explain", "codes"])]
    file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Exit with 2 for notes too
    #[arg(long)]
    strict: bool,
    /// Say why a finding is one
    #[arg(long, value_name = "CODE", conflicts_with = "file")]
    explain: Option<String>,
    /// List the codes of all findings
    #[arg(long, conflicts_with_all = ["file", "explain"])]
    codes: bool,
}

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    match (&arguments.explain, &arguments.file) {
        (Some(code), _) => explain(code),
        (None, Some(file)) => check(file, arguments),
        (None, None) => {
            for code in CODES {
                println!("{:<7}  {}", code.severity.as_str(), code.name);
            }
            ExitCode::SUCCESS
        }
    }
}

fn explain(name: &str) -> ExitCode {
    let Some(code) = Code::named(name) else {
        let help = did_you_mean(name, CODES.iter().map(|code| code.name));
        let help = help.unwrap_or_else(|| "`seawall check --codes` lists them".to_owned());
        return fail(&format!("there is no finding \"{name}\": {help}"));
    };
    println!(
        "{} ({})\n\nWhy: {}.\nHelp: {}.\nMeant so: `lint_allow = [\"{}\"]` in the rule.",
        code.name,
        code.severity.as_str(),
        code.why,
        code.remedy,
        code.name
    );
    ExitCode::SUCCESS
}

/// Prints every fault, or a one-line summary and every finding.
fn check(file: &Path, arguments: &CheckArguments) -> ExitCode {
    let name = file.display().to_string();
    // Without a text, the faults say that the file cannot be read.
    let source = std::fs::read_to_string(file).unwrap_or_default();
    let config = match load_config(file) {
        Ok(config) => config,
        Err(faults) if arguments.json => return print_faults(&of_file(&faults, &name, &source)),
        Err(faults) => return fail(&faults.to_string()),
    };
    let summary = summary(&config);
    let findings = lint(
        &name,
        &source,
        &config,
        clock::unix_seconds_of(clock::now()),
    );
    if let Err(why) = check_files(config) {
        let fault = json!({ "file": name, "message": why });
        return if arguments.json {
            print_faults(&[fault])
        } else {
            fail(&format!("{name}: {why}"))
        };
    }
    if arguments.json {
        let all = json!({
            "ok": true, "faults": [], "findings": findings.list(), "summary": summary,
        });
        println!("{all:#}");
    } else {
        println!("{name}: ok: {summary}");
        if !findings.list().is_empty() {
            println!("\n{findings}");
        }
    }
    status(&findings, arguments.strict)
}

fn status(findings: &Findings, strict: bool) -> ExitCode {
    if findings.count(Severity::Warning) > 0 || (strict && !findings.list().is_empty()) {
        ExitCode::from(FOUND)
    } else {
        ExitCode::SUCCESS
    }
}

fn of_file(faults: &Diagnostics, name: &str, source: &str) -> Vec<serde_json::Value> {
    let fault = |fault: &crate::config::Diagnostic| {
        let (line, column) = position(source, fault.span.start);
        json!({
            "file": name, "line": line, "column": column,
            "message": fault.message, "help": fault.help,
        })
    };
    faults.list().iter().map(fault).collect()
}

fn print_faults(faults: &[serde_json::Value]) -> ExitCode {
    let all = json!({ "ok": false, "faults": faults, "findings": [], "summary": null });
    println!("{all:#}");
    ExitCode::FAILURE
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
