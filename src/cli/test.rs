//! `seawall test FILE…`: runs the `[[test]]`s of configurations, without any network.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use super::{fail, print_json};
use crate::clock;
use crate::config::{Config, PRESETS, Preset};
use crate::explain::{self, Mismatch, RuleRef, RuleTest};
use crate::server::load_config;

/// Which tests, and what is printed.
#[derive(Args)]
pub(super) struct TestArguments {
    /// Configuration files
    #[arg(required_unless_present_any = ["preset", "presets"])]
    files: Vec<PathBuf>,
    /// The tests of a preset, in a zone with that preset alone
    #[arg(long, value_name = "NAME")]
    preset: Vec<String>,
    /// The tests of all presets
    #[arg(long)]
    presets: bool,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write the results as XML, in `JUnit`'s form
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// The tests of one file, done.
#[derive(Serialize)]
struct Suite {
    file: String,
    tests: Vec<Done>,
}

/// One test, done.
#[derive(Serialize)]
struct Done {
    name: String,
    at: String,
    passed: bool,
    request: String,
    mismatches: Vec<Mismatch>,
    because: String,
    decided_by: Option<RuleRef>,
}

/// Runs the tests; fails when one does, or when there is none.
pub(super) fn run(arguments: &TestArguments) -> ExitCode {
    let suites = match configurations(arguments) {
        Ok(configs) => configs
            .into_iter()
            .map(|(file, config)| suite(file, &config, arguments.filter.as_deref()))
            .collect::<Vec<_>>(),
        Err(why) => return fail(&why),
    };
    if suites.iter().all(|suite| suite.tests.is_empty()) {
        return fail("there is no test to run");
    }
    if let Some(file) = &arguments.junit
        && let Err(why) = write_junit(file, &suites)
    {
        return fail(&format!("cannot write {}: {why}", file.display()));
    }
    if arguments.json {
        print_json(&suites);
    } else {
        print!("{}", text(&suites));
    }
    let passed = |done: &Done| done.passed;
    if suites.iter().all(|suite| suite.tests.iter().all(passed)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn configurations(arguments: &TestArguments) -> Result<Vec<(String, Config)>, String> {
    let mut found = Vec::new();
    for file in &arguments.files {
        let config = load_config(file).map_err(|faults| faults.to_string())?;
        found.push((file.display().to_string(), config));
    }
    for preset in presets(arguments)? {
        let config = preset.alone().map_err(|faults| faults.to_string())?;
        found.push((format!("preset {}", preset.name), config));
    }
    Ok(found)
}

fn presets(arguments: &TestArguments) -> Result<Vec<&'static Preset>, String> {
    if arguments.presets {
        return Ok(PRESETS.iter().collect());
    }
    let named = arguments.preset.iter().map(|name| Preset::by_name(name));
    named.collect()
}

fn suite(file: String, config: &Config, filter: Option<&str>) -> Suite {
    let wanted = |test: &&RuleTest| filter.is_none_or(|text| test.name.contains(text));
    let tests = config.tests.iter().filter(wanted);
    Suite {
        file,
        tests: tests.map(|test| done(config, test)).collect(),
    }
}

fn done(config: &Config, test: &RuleTest) -> Done {
    let request = format!("{} {}", test.request.method, test.request.url);
    let (mismatches, because, decided_by) = match explain::run(config, test, clock::now()) {
        Ok(outcome) => (outcome.mismatches, outcome.because, outcome.decided_by),
        Err(why) => {
            let mismatch = Mismatch {
                what: "request".to_owned(),
                expected: "a request".to_owned(),
                actual: why.to_string(),
            };
            (vec![mismatch], String::new(), None)
        }
    };
    Done {
        name: test.name.clone(),
        at: test.source.to_string(),
        passed: mismatches.is_empty(),
        request,
        mismatches,
        because,
        decided_by,
    }
}

fn text(suites: &[Suite]) -> String {
    let mut lines = Vec::new();
    for suite in suites {
        lines.push(suite.file.clone());
        for done in &suite.tests {
            let word = if done.passed { "ok  " } else { "FAIL" };
            lines.push(format!("{word}  {}", done.name));
            if !done.passed {
                lines.extend(
                    details(done)
                        .into_iter()
                        .map(|line| format!("      {line}")),
                );
            }
        }
    }
    let all = || suites.iter().flat_map(|suite| &suite.tests);
    let failed = all().filter(|done| !done.passed).count();
    let passed = all().count().saturating_sub(failed);
    lines.push(format!("{passed} passed, {failed} failed"));
    lines.join("\n") + "\n"
}

/// What was otherwise than expected, and what explains it.
fn details(done: &Done) -> Vec<String> {
    let mut lines = vec![format!("{}, at {}", done.request, done.at)];
    for mismatch in &done.mismatches {
        lines.push(mismatch.what.clone());
        lines.push(format!("  expected  {}", mismatch.expected));
        lines.push(format!("  actual    {}", mismatch.actual));
    }
    if !done.because.is_empty() {
        lines.push(match &done.decided_by {
            Some(rule) => format!(
                "{}, by the rule \"{}\", {}",
                done.because, rule.name, rule.at
            ),
            None => done.because.clone(),
        });
    }
    lines
}

fn write_junit(file: &Path, suites: &[Suite]) -> Result<(), String> {
    let mut report = Report::new("seawall test");
    for suite in suites {
        let mut cases = TestSuite::new(suite.file.as_str());
        for done in &suite.tests {
            let status = if done.passed {
                TestCaseStatus::success()
            } else {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let what: Vec<&str> = done.mismatches.iter().map(|one| &*one.what).collect();
                status.set_message(what.join(", "));
                status.set_description(details(done).join("\n"));
                status
            };
            let mut case = TestCase::new(done.name.as_str(), status);
            case.set_classname(done.at.as_str());
            cases.add_test_case(case);
        }
        report.add_test_suite(cases);
    }
    let xml = report.to_string().map_err(|error| error.to_string())?;
    std::fs::write(file, xml).map_err(|error| error.to_string())
}
