//! From the request as sent to its canonical form: what `proxy::arrival` does, on a described request.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST};
use http::{HeaderMap, HeaderValue};

use super::explanation::{EdgeFacts, Explanation, RequestFacts, Verdict, ZoneFacts};
use super::question::{Question, QuestionError, Url};
use super::{Inquiry, planned};
use crate::config::{Config, Zone};
use crate::guard::Assessment;
use crate::guard::access::without;
use crate::request::arrival::{
    Arrival, Refusal, announced_length, authority, canonical_target, check_form, check_size,
    connection, has_body, joined_cookies, parse_target, session_cookie, unkeyed,
};
use crate::request::{Facts, RequestView};
use crate::rules::target_text;
use crate::zone::{self, Authority, HostPattern, Slashes};

/// A request in canonical form, with its zone.
#[derive(Clone)]
pub(super) struct Arrived<'c> {
    pub(super) zone: &'c Arc<Zone>,
    pub(super) authority: Authority,
    target: String,
    pub(super) headers: HeaderMap,
    session_cookie: bool,
    pub(super) slashes: Slashes,
    seconds: i64,
}

pub(super) fn explain(
    config: &Config,
    inquiry: &Inquiry<'_>,
) -> Result<Explanation, QuestionError> {
    let question = inquiry.question;
    let url = Url::read(&question.url, config)?;
    let mut explanation = unexplained(question, &url);
    match arrive(config, inquiry, &url, &mut explanation) {
        Ok(arrived) => planned::explain(config, inquiry, &url, &arrived, &mut explanation),
        Err(refusal) => refuse(&refusal, &mut explanation),
    }
    Ok(explanation)
}

/// Says that the request is refused.
pub(super) fn refuse(refusal: &Refusal, explanation: &mut Explanation) {
    explanation.verdict = Verdict::Refused;
    explanation.reason = Some(refusal.status.to_string());
    explanation.because = format!("answered with {}: {}", refusal.status, refusal.why);
    explanation.answer = Some(EdgeFacts {
        status: refusal.status,
        location: None,
        retry_after: None,
        told: None,
    });
}

fn unexplained(question: &Question, url: &Url<'_>) -> Explanation {
    let target = target_text(url.path, url.query);
    let country = question.country.map(|code| code.map(char::from));
    Explanation {
        verdict: Verdict::Refused,
        reason: None,
        because: String::new(),
        decided_by: None,
        request: RequestFacts {
            method: question.method.to_string(),
            url: format!("{}://{}{target}", url.scheme.as_str(), url.authority),
            changes: Vec::new(),
            client: question.client.to_string(),
            country: country.map(|letters| letters.iter().collect()),
            session_cookie: None,
            has_body: false,
        },
        zone: None,
        rules: Vec::new(),
        answer: None,
        splits: std::collections::BTreeMap::new(),
        origin: None,
        settings: Vec::new(),
        key: None,
        response: None,
    }
}

fn arrive<'c>(
    config: &'c Config,
    inquiry: &Inquiry<'_>,
    url: &Url<'_>,
    explanation: &mut Explanation,
) -> Arrival<Arrived<'c>> {
    let question = inquiry.question;
    let mut headers = question.headers.clone();
    check_form(&question.method, &headers)?;
    let facts = &mut explanation.request;
    let connection = connection(&headers);
    for name in unkeyed(&headers) {
        headers.remove(&name);
        facts.changes.push(format!("{name} removed"));
    }
    headers.remove(CONNECTION);
    headers.extend(connection.map(|options| (CONNECTION, options)));
    if let Some(cookies) = joined_cookies(&headers) {
        headers.insert(COOKIE, cookies);
    }
    // As curl does, a Host among the fields stands for the URL's.
    let written = (!headers.contains_key(HOST)).then_some(&*url.authority);
    let authority = authority(&headers, written, url.scheme)?;
    let found = find_zone(config, authority.host());
    let merges = found.is_some_and(|(zone, _)| zone.merge_slashes);
    let slashes = if merges {
        Slashes::Merge
    } else {
        Slashes::Keep
    };
    let target = canonical_target(url.path, url.query, slashes)?
        .unwrap_or_else(|| target_text(url.path, url.query));
    parse_target(&target)?;
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        headers.insert(HOST, host);
    }
    let sent = target_text(url.path, url.query);
    if sent != target {
        facts.changes.push(format!("{sent} is {target}"));
    }
    if url.authority != authority.as_str() {
        let host = format!("{} is {}", url.authority, authority.as_str());
        facts.changes.push(host);
    }
    facts.url = format!("{}://{}{target}", url.scheme.as_str(), authority.as_str());
    facts.has_body = has_body(&headers);
    check_size(&target, &headers, &config.client)?;
    let Some((zone, host)) = found else {
        // RFC 9110 §15.5.20.
        let why = "no zone answers for this host".into();
        return Err(Refusal { status: 421, why });
    };
    explanation.zone = Some(ZoneFacts {
        name: zone.name.clone(),
        host: host.to_string(),
    });
    let cookie = session_cookie(&headers, &zone.session_cookies);
    let cookie = cookie.map(|name| String::from_utf8_lossy(name).into_owned());
    let session = cookie.is_some();
    explanation.request.session_cookie = cookie;
    Ok(Arrived {
        zone,
        authority,
        target,
        headers,
        session_cookie: session,
        slashes,
        seconds: question.time.unwrap_or_else(|| unix_seconds(inquiry.now)),
    })
}

fn find_zone<'c>(config: &'c Config, host: &str) -> Option<(&'c Arc<Zone>, &'c HostPattern)> {
    let patterns = config.zones.iter().map(|zone| zone.hosts.as_slice());
    let zone = config.zones.get(zone::find(patterns, host)?)?;
    let best = zone.hosts.iter().max_by_key(|host_pattern| {
        // What does not match is less than what does.
        host_pattern.specificity(host)
    });
    Some((zone, best?))
}

fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Arrived<'_> {
    /// The request without what was for the guard alone.
    pub(super) fn without(&self, assessment: &Assessment<'_>) -> Self {
        let mut left = self.clone();
        if assessment.takes_authorization {
            left.headers.remove(AUTHORIZATION);
        }
        let (path, query) = split(&self.target);
        if let (Some(parameter), Some(query)) = (assessment.takes_parameter, query) {
            left.target = target_text(path, without(query, parameter));
        }
        left
    }

    /// The view that decisions read.
    pub(super) fn view<'a>(&'a self, question: &'a Question, url: &Url<'_>) -> RequestView<'a> {
        let (path, query) = split(&self.target);
        RequestView {
            method: &question.method,
            scheme: url.scheme,
            host: self.authority.host(),
            path,
            query,
            version: question.version,
            headers: &self.headers,
            client: question.client,
            session_cookie: self.session_cookie,
            has_body: has_body(&self.headers),
            facts: Facts {
                unix_seconds: self.seconds,
                body_size: announced_length(&self.headers),
                country: question.country,
                asn: question.asn,
                verified_bot: question.verified_bot,
                raw_target: None,
                splits: &[],
            },
        }
    }
}

fn split(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}
