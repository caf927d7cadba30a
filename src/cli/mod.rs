//! The command line: one file a verb.

mod check;
mod explain;
mod presets;
mod purge;
mod schema;
mod store;
mod test;
mod warm;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{observe, server};

#[derive(Parser)]
#[command(name = "seawall", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve as a configuration file says
    Serve {
        /// The configuration file
        file: PathBuf,
        /// Take the listening sockets over from the running process, which SIGQUIT tells to give them
        #[arg(long)]
        upgrade: bool,
    },
    /// Check a configuration file: exit status 0 when it is good, 1 when not, 2 when it is good and
    /// something is odd about it
    Check(check::CheckArguments),
    /// Explain what would become of a request, and why
    Explain(Box<explain::ExplainArguments>),
    /// Run the tests in configuration files: exit status 0 when all pass, 1 when not
    Test(test::TestArguments),
    /// Purge stored responses of a running Seawall: exit status 0 when it is done, 1 when not
    Purge(purge::PurgeArguments),
    /// Ask for every page of a sitemap or a list, at a given pace, so that visitors find them stored:
    /// exit status 0 when all were answered, 1 when not
    Warm(warm::WarmArguments),
    /// Print the presets as TOML: all of them, or the one named
    Presets {
        /// Name of a preset
        name: Option<String>,
    },
    /// Look at the directory of a disk store; nothing is changed
    Store {
        #[command(subcommand)]
        verb: store::StoreVerb,
    },
    /// Print the JSON Schema of configuration files, for editors
    Schema,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Serve { file, upgrade } => {
            observe::init_logging();
            match server::serve(&file, upgrade) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error.to_string()),
            }
        }
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Purge(arguments) => purge::run(&arguments),
        Verb::Warm(arguments) => warm::run(&arguments),
        Verb::Presets { name } => presets::run(name.as_deref()),
        Verb::Store { verb } => store::run(&verb),
        Verb::Schema => schema::run(),
    }
}

/// What listens everywhere is asked here.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}

fn print_json(value: &impl serde::Serialize) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string()),
    }
}
