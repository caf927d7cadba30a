//! `seawall explain URL`: what would become of a request, and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{fail, print_json};
use crate::clock;
use crate::config::Config;
use crate::explain::{self, Inquiry, OriginAnswer, Question, QuestionError, explain};
use crate::geo::Geo;
use crate::server::load_config;

/// Where the sample configuration is, seen from the repository.
const USUAL: &str = "conf/seawall.toml";

/// The request, and what the origin answers.
#[derive(Args)]
pub(super) struct ExplainArguments {
    /// The configuration file; by default conf/seawall.toml, where there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The method
    #[arg(
        short = 'X',
        long = "request",
        value_name = "METHOD",
        default_value = "GET"
    )]
    method: String,
    /// A field of the request
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Address of the client
    #[arg(long, value_name = "IP", default_value = "192.0.2.1")]
    client: String,
    /// Country of the client, two letters; by default what the configuration's database says
    #[arg(long, value_name = "CC")]
    country: Option<String>,
    /// Number of the client's autonomous system; by default likewise
    #[arg(long, value_name = "NUMBER")]
    asn: Option<u32>,
    /// The client is one of the `verified_bots`; nobody is looked up for an explanation
    #[arg(long)]
    verified_bot: bool,
    /// The status that the origin answers with: tells what is stored, and what clients get
    #[arg(long, value_name = "STATUS")]
    response: Option<u16>,
    /// A field of the origin's answer
    #[arg(long = "response-header", value_name = "NAME: VALUE")]
    response_headers: Vec<String>,
    /// How much later the same request comes again
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    after: Duration,
    /// Also the rules that do not hold, and the settings that no rule sets
    #[arg(long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// A URL, or a path, which is asked of the first zone's first host
    url: String,
}

/// Prints the explanation.
pub(super) fn run(arguments: &ExplainArguments) -> ExitCode {
    let config = match configuration(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(why) => return fail(&why),
    };
    match explanation(arguments, &config) {
        Ok(explained) if arguments.json => print_json(&explained),
        Ok(explained) => {
            print!("{}", explain::render(&explained, arguments.all));
            ExitCode::SUCCESS
        }
        Err(why) => fail(&why),
    }
}

fn configuration(file: Option<&Path>) -> Result<Config, String> {
    let usual = Some(Path::new(USUAL)).filter(|usual| usual.is_file());
    let file = file
        .or(usual)
        .ok_or_else(|| format!("there is no {USUAL} here: name a file with --config"))?;
    load_config(file).map_err(|faults| faults.to_string())
}

fn explanation(
    arguments: &ExplainArguments,
    config: &Config,
) -> Result<explain::Explanation, String> {
    let mut question = question(arguments).map_err(|why| why.to_string())?;
    let answer = answer(arguments).map_err(|why| why.to_string())?;
    let place = Geo::load(&config.geo)?.place(question.client);
    question.country = question.country.or(place.country);
    question.asn = question.asn.or(place.asn);
    let inquiry = Inquiry {
        question: &question,
        answer: answer.as_ref(),
        now: clock::now(),
        after: arguments.after,
        all: arguments.all,
        developing: &[],
        under_attack: &[],
    };
    explain(config, &inquiry).map_err(|why| why.to_string())
}

fn question(arguments: &ExplainArguments) -> Result<Question, QuestionError> {
    let mut question = Question::get(&arguments.url);
    question.method = explain::method(&arguments.method)?;
    question.client = explain::client(&arguments.client)?;
    question.country = arguments
        .country
        .as_deref()
        .map(explain::country)
        .transpose()?;
    question.asn = arguments.asn;
    question.verified_bot = arguments.verified_bot;
    for line in &arguments.headers {
        let (name, value) = explain::field_line(line)?;
        question.headers.append(name, value);
    }
    Ok(question)
}

/// Fields alone are those of a 200.
fn answer(arguments: &ExplainArguments) -> Result<Option<OriginAnswer>, QuestionError> {
    if arguments.response.is_none() && arguments.response_headers.is_empty() {
        return Ok(None);
    }
    let mut headers = http::HeaderMap::new();
    for line in &arguments.response_headers {
        let (name, value) = explain::field_line(line)?;
        headers.append(name, value);
    }
    let status = explain::status(arguments.response.unwrap_or(200))?;
    Ok(Some(OriginAnswer { status, headers }))
}
