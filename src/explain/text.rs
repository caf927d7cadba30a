//! An explanation for a terminal: the verdict first, then how it came about.

use std::fmt::Write as _;
use std::time::Duration;

use super::explanation::{
    Explanation, FieldChange, OriginFacts, ResponseFacts, RuleRef, SettingFact, Step, Verdict,
};
use crate::cache::settings::duration_in_words;

/// Width of the labels on the left.
const LABEL: usize = 10;

/// The explanation as text; with `all`, settings that no rule set as well.
pub fn render(explanation: &Explanation, all: bool) -> String {
    let mut page = Page::default();
    let request = &explanation.request;
    page.line(&format!("{} {}", request.method, request.url));
    page.line("");
    headline(explanation, &mut page);
    page.line("");
    if let Some(zone) = &explanation.zone {
        page.row("zone", &format!("{}, by its host {}", zone.name, zone.host));
    }
    page.rows("request", &request_rows(explanation));
    page.rows("rules", &table(&rule_rows(&explanation.rules)));
    page.rows("split", &split_rows(explanation));
    if let Some(told) = explanation
        .answer
        .as_ref()
        .and_then(|answer| answer.told.as_ref())
    {
        page.row(
            "client",
            &format!("{}  {}", told.x_cache, told.cache_status),
        );
    }
    if let Some(origin) = &explanation.origin {
        page.rows("origin", &origin_rows(origin));
    }
    page.rows("settings", &setting_rows(&explanation.settings, all));
    if let Some(key) = &explanation.key {
        page.row("key", &key.text);
        page.row("", &format!("hash {}", key.hash));
    }
    if let Some(response) = &explanation.response {
        page.rows("response", &response_rows(response));
        page.rows("client", &client_rows(response));
    }
    page.text
}

fn headline(explanation: &Explanation, page: &mut Page) {
    let verdict = explanation.verdict.as_str();
    let (told, decided_by) = match (&explanation.response, explanation.verdict) {
        (Some(response), Verdict::Lookup) => (told(response), &response.decided_by),
        _ => (explanation.because.clone(), &explanation.decided_by),
    };
    match &explanation.reason {
        Some(reason) => page.line(&format!("{verdict} ({reason}): {told}")),
        None => page.line(&format!("{verdict}: {told}")),
    }
    match decided_by {
        Some(rule) => page.line(&format!("  by the rule {}", rule_text(rule))),
        None if explanation.verdict == Verdict::Refused => {}
        None => page.line("  by no rule: built-in default, or the origin's word"),
    }
}

/// What becomes of the answer, in one line.
fn told(response: &ResponseFacts) -> String {
    let first = response.first.x_cache;
    let because = &response.because;
    match response.ttl.filter(|_| response.stored) {
        Some(_) if response.validate_always => {
            format!("{first}, stored and validated each time: {because}")
        }
        Some(ttl) => format!("{first}, stored for {}: {because}", seconds(ttl)),
        None => format!("{first}, not stored: {because}"),
    }
}

fn request_rows(explanation: &Explanation) -> Vec<String> {
    let request = &explanation.request;
    let mut rows = request.changes.clone();
    let cookie = request.session_cookie.iter();
    rows.extend(cookie.map(|name| format!("the cookie {name} marks a session")));
    rows.extend(request.has_body.then(|| "it has a body".to_owned()));
    let country = request.country.iter();
    let from = country.fold(request.client.clone(), |client, country| {
        format!("{client}, {country}")
    });
    rows.push(format!("from {from}"));
    rows
}

fn rule_rows(steps: &[Step]) -> Vec<[String; 4]> {
    let rows = |step: &Step| {
        let effects = match (step.held, step.without_effect) {
            (false, _) => vec!["does not hold".to_owned()],
            (true, Some(why)) => vec![format!("does nothing: {why}")],
            (true, None) => step
                .sets
                .iter()
                .map(|(key, value)| format!("{key} = {value}"))
                .collect(),
        };
        let phase = step.phase.to_owned();
        let whose = [phase, step.rule.name.clone(), step.rule.at.clone()];
        // What it sets stands one below the other, beside its name.
        effects
            .into_iter()
            .enumerate()
            .map(move |(position, effect)| {
                let [phase, name, at] = if position == 0 {
                    whose.clone()
                } else {
                    <[String; 3]>::default()
                };
                [phase, name, at, effect]
            })
    };
    steps.iter().flat_map(rows).collect()
}

fn split_rows(explanation: &Explanation) -> Vec<String> {
    let splits = explanation.splits.iter();
    splits
        .map(|(split, variant)| format!("{split} = {variant}"))
        .collect()
}

fn origin_rows(origin: &OriginFacts) -> Vec<String> {
    let mut asked = format!("pool {}, Host {}", origin.pool, origin.host);
    for (what, value) in [
        ("SNI", origin.sni.clone()),
        ("port", origin.port.map(|port| port.to_string())),
    ] {
        if let Some(value) = value {
            // Writing to a string does not fail.
            let _ = write!(asked, ", {what} {value}");
        }
    }
    let target = crate::rules::target_text(&origin.path, origin.query.as_deref());
    let tiers = origin.upper_tiers.join(", ");
    let before = (!tiers.is_empty()).then(|| format!("upper tiers before it: {tiers}"));
    let turn = format!("{}: {}", origin.balance, origin.limits.join(", "));
    let mut rows = vec![asked, turn, format!("target {target}")];
    rows.extend(before);
    rows.extend(origin.headers.iter().map(change_text));
    rows
}

fn change_text(change: &FieldChange) -> String {
    match &change.value {
        Some(value) => format!("{} {}: {value}", change.change, change.name),
        None => format!("{} {}", change.change, change.name),
    }
}

fn setting_rows(settings: &[SettingFact], all: bool) -> Vec<String> {
    let row = |setting: &SettingFact| {
        let by = setting.rule.as_ref();
        let by = by.map_or_else(|| "default".to_owned(), rule_text);
        [setting.key.to_owned(), setting.value.clone(), by]
    };
    let told = settings
        .iter()
        .filter(|setting| all || setting.rule.is_some());
    let mut rows = table(&told.map(row).collect::<Vec<_>>());
    if rows.is_empty() && !settings.is_empty() {
        rows.push("all by default".to_owned());
    }
    rows
}

fn response_rows(response: &ResponseFacts) -> Vec<String> {
    let stored = if response.stored {
        "stored"
    } else {
        "not stored"
    };
    let mut rows = vec![format!(
        "{} from the origin, {stored} ({}): {}",
        response.status, response.reason, response.because
    )];
    if let Some(ttl) = response.ttl {
        rows.push(format!("fresh for {}", seconds(ttl)));
    }
    for (window, when) in [
        (response.stale_while_revalidate, "while it is validated"),
        (response.stale_if_error, "when the origin fails"),
        (
            response.stale_when_overloaded,
            "when the origin is overloaded",
        ),
    ] {
        rows.extend(window.map(|time| format!("stale for {} {when}", seconds(time))));
    }
    if !response.tags.is_empty() {
        rows.push(format!("tags {}", response.tags.join(", ")));
    }
    let second = &response.second;
    let note = second
        .note
        .map_or_else(String::new, |note| format!(" ({note})"));
    let after = format!("{} later", seconds(second.after));
    rows.extend(table(&[
        [
            "first".to_owned(),
            response.first.x_cache.to_owned(),
            response.first.cache_status.clone(),
        ],
        [
            after,
            second.told.x_cache.to_owned(),
            format!("{}{note}", second.told.cache_status),
        ],
    ]));
    rows
}

fn client_rows(response: &ResponseFacts) -> Vec<String> {
    let client = &response.client;
    let mut rows = vec![match &client.page {
        Some(page) => format!("{} with the page of {}", client.status, rule_text(page)),
        None => client.status.to_string(),
    }];
    let headers = client.headers.iter();
    rows.extend(headers.map(|(name, value)| format!("{name}: {value}")));
    rows
}

/// A rule with its place.
pub(super) fn rule_text(rule: &RuleRef) -> String {
    format!("\"{}\", {}", rule.name, rule.at)
}

/// A number of seconds as one would write it.
pub(super) fn seconds(count: u64) -> String {
    duration_in_words(Duration::from_secs(count))
}

/// Rows whose columns begin one below the other. The last column is as long as it likes.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(&widths);
        let text: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn row(&mut self, label: &str, text: &str) {
        self.line(&format!("{label:LABEL$}{text}"));
    }

    /// Rows of which the first has the label.
    fn rows(&mut self, label: &str, rows: &[String]) {
        for (position, row) in rows.iter().enumerate() {
            self.row(if position == 0 { label } else { "" }, row);
        }
    }
}
