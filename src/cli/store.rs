//! `seawall store inspect|verify DIR`: what a disk store holds, and whether it is right.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{fail, print_json};
use crate::clock;
use crate::store::log::{self, Report, SegmentState};

/// Which of the two, and where.
#[derive(Subcommand)]
pub(super) enum StoreVerb {
    /// Say what is in a directory: segments, records and bytes
    Inspect(StoreArguments),
    /// Read and check every record too: exit status 0 when all are right, 1 when not
    Verify(StoreArguments),
}

#[derive(Args)]
pub(super) struct StoreArguments {
    /// The directory of the disk store; a running Seawall may be using it
    directory: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(verb: &StoreVerb) -> ExitCode {
    let (arguments, verify) = match verb {
        StoreVerb::Inspect(arguments) => (arguments, false),
        StoreVerb::Verify(arguments) => (arguments, true),
    };
    let now = u64::try_from(clock::unix_seconds_of(clock::now())).unwrap_or(0);
    let look = if verify { log::verify } else { log::inspect };
    let report = match look(&arguments.directory, now) {
        Ok(report) => report,
        Err(error) => return cannot_read(&arguments.directory, &error),
    };
    if arguments.json {
        print_json(&report);
    } else {
        print!("{}", text(&report, now, verify));
    }
    if report.damaged.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn cannot_read(directory: &Path, error: &std::io::Error) -> ExitCode {
    fail(&format!("cannot read {}: {error}", directory.display()))
}

fn text(report: &Report, now: u64, verified: bool) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}: format {}, {} segments, {}",
        report.directory.display(),
        report.format_version,
        report.segments.len(),
        size(report.bytes),
    );
    let _ = writeln!(
        text,
        "records: {} live ({}), {} of them expired; {} dead",
        report.live,
        size(report.live_bytes),
        report.expired,
        report.dead,
    );
    let modified = report.segments.iter().map(|segment| segment.modified);
    if let (Some(oldest), Some(newest)) = (modified.clone().min(), modified.max()) {
        let ago = |time: u64| {
            let since = std::time::Duration::from_secs(now.saturating_sub(time));
            humantime::format_duration(since).to_string()
        };
        let _ = writeln!(
            text,
            "last written to: {} ago the newest segment, {} ago the oldest",
            ago(newest),
            ago(oldest),
        );
    }
    if !report.segments.is_empty() {
        let _ = writeln!(
            text,
            "\n{:>8}  {:<8} {:>10} {:>9} {:>10} {:>9} {:>9}",
            "segment", "state", "size", "live", "live size", "dead", "expired"
        );
    }
    for segment in &report.segments {
        let _ = writeln!(
            text,
            "{:08x}  {:<8} {:>10} {:>9} {:>10} {:>9} {:>9}",
            segment.number,
            word(segment.state),
            size(segment.bytes),
            segment.live,
            size(segment.live_bytes),
            segment.dead,
            segment.expired,
        );
    }
    for damage in &report.damaged {
        let _ = writeln!(
            text,
            "damaged: {} at {} in segment {:08x}",
            damage.what, damage.offset, damage.segment
        );
    }
    if verified && report.damaged.is_empty() {
        let _ = writeln!(text, "every live record is as it was written");
    }
    text
}

fn word(state: SegmentState) -> &'static str {
    match state {
        SegmentState::Sealed => "sealed",
        SegmentState::Open => "open",
        SegmentState::Foreign => "foreign",
        SegmentState::Damaged => "damaged",
    }
}

/// Bytes in the unit that suits them; a tenth is enough.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_in_the_unit_that_suits_them() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (64 << 20, "64.0 MiB"),
            (3 << 39, "1.5 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
