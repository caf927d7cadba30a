//! `POST /explain`: what would become of a request under the configuration in force, and what of it
//! is stored. Reads only.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use pingora_core::protocols::http::ServerSession;
use serde::{Deserialize, Serialize};

use super::{plain, purge, respond};
use crate::clock;
use crate::explain::{
    self, Explanation, Inquiry, KeyFacts, OriginAnswer, Question, QuestionError, explain,
};
use crate::fields::vary::Vary;
use crate::server::{Shared, ZoneSwitch};
use crate::store::{MemoryStore, StoreKey, StoredResponse};

pub(super) const USAGE: &str = r#"POST /explain     what would become of a request, and what of it is stored

  {"url": "https://shop.test/a?b=1"}       or a path, asked of the first zone's first host

  "method": "GET", "headers": {"cookie": "a=1"}, "client": "192.0.2.1",
  "country": "DE", "asn": 64496, "verified_bot": true, "version": "1.1"
  "response": {"status": 200, "headers": {"cache-control": "max-age=60"}, "length": 1000}
  "after": 30     seconds until the same request comes again
  "all": true     also the rules that do not hold

`seawall explain --help` does the same without a running Seawall.
"#;

/// Fields of stored responses that say nothing about who was answered.
const SHOWN: &[HeaderName] = &[
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::VARY,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: Fields,
    client: Option<String>,
    country: Option<String>,
    asn: Option<u32>,
    #[serde(default)]
    verified_bot: bool,
    version: Option<String>,
    response: Option<Answered>,
    #[serde(default)]
    after: u64,
    #[serde(default)]
    all: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    status: Option<u16>,
    #[serde(default)]
    headers: Fields,
    length: Option<u64>,
}

/// Each with one value or several.
#[derive(Default, Deserialize)]
#[serde(transparent)]
struct Fields(BTreeMap<String, Values>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a field has a text or a list of texts")]
enum Values {
    One(String),
    Several(Vec<String>),
}

impl Fields {
    fn read(&self) -> Result<HeaderMap, QuestionError> {
        let mut fields = HeaderMap::new();
        for (name, values) in &self.0 {
            let values = match values {
                Values::One(value) => std::slice::from_ref(value),
                Values::Several(values) => values,
            };
            for value in values {
                let (name, value) = explain::field(name, value)?;
                fields.append(name, value);
            }
        }
        Ok(fields)
    }
}

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    explanation: Explanation,
    stored: Vec<Variant>,
}

/// A stored response.
#[derive(Serialize)]
struct Variant {
    /// Whether it is the one that the request gets.
    selected: bool,
    status: u16,
    /// In seconds.
    age: u64,
    /// Seconds of freshness left; negative when stale.
    ttl: i64,
    /// Bytes of its body.
    size: u64,
    /// Whether all of the body is there.
    complete: bool,
    tags: Vec<String>,
    varies_by: Vec<String>,
    fields: BTreeMap<String, String>,
}

/// Answers one question.
pub(super) async fn answer(session: &mut ServerSession, shared: &Shared) -> Response<Vec<u8>> {
    let body = match purge::read_body(session).await {
        Ok(body) => body,
        Err(failure) => return refuse(failure.status, &failure.message),
    };
    let body: Body = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match explained(&body, shared, clock::now()) {
        Ok(answer) => render(StatusCode::OK, &answer),
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn explained(body: &Body, shared: &Shared, now: SystemTime) -> Result<Answer, QuestionError> {
    let runtime = shared.runtime();
    let mut question = question(body)?;
    let place = runtime.geo.load().place(question.client);
    question.country = question.country.or(place.country);
    question.asn = question.asn.or(place.asn);
    let response = body.response.as_ref().map(origin_answer).transpose()?;
    let seconds = clock::unix_seconds_of(now);
    let on = |switch: &ZoneSwitch| -> Vec<String> {
        let names = runtime.config.zones.iter().map(|zone| zone.name.clone());
        names.filter(|zone| switch.is_on(zone, seconds)).collect()
    };
    let (developing, under_attack) = (on(&shared.development), on(&shared.under_attack));
    let inquiry = Inquiry {
        question: &question,
        answer: response.as_ref(),
        now,
        after: Duration::from_secs(body.after),
        all: body.all,
        developing: &developing,
        under_attack: &under_attack,
    };
    let explanation = explain(&runtime.config, &inquiry)?;
    let key = explanation.key.as_ref();
    let stored = key.map(|key| variants(key, &shared.store, now));
    Ok(Answer {
        stored: stored.unwrap_or_default(),
        explanation,
    })
}

fn question(body: &Body) -> Result<Question, QuestionError> {
    let mut question = Question::get(&body.url);
    if let Some(method) = &body.method {
        question.method = explain::method(method)?;
    }
    if let Some(client) = &body.client {
        question.client = explain::client(client)?;
    }
    if let Some(version) = &body.version {
        question.version = explain::version(version)?;
    }
    question.country = body.country.as_deref().map(explain::country).transpose()?;
    question.asn = body.asn;
    question.verified_bot = body.verified_bot;
    question.headers = body.headers.read()?;
    Ok(question)
}

fn origin_answer(answered: &Answered) -> Result<OriginAnswer, QuestionError> {
    let status = explain::status(answered.status.unwrap_or(200))?;
    let headers = answered.headers.read()?;
    Ok(OriginAnswer { status, headers }.with_length(answered.length))
}

/// Everything stored under the key that no purge has reached.
fn variants(facts: &KeyFacts, store: &MemoryStore, now: SystemTime) -> Vec<Variant> {
    let key = StoreKey(facts.identity.primary.as_slice().into());
    store.load_blocking(&key);
    let resource = store.find(&key).unwrap_or_default();
    let mut selected = false;
    let mut found = Vec::new();
    for stored in resource.variants() {
        let Some(times) = store.purges.times(&key, stored) else {
            continue;
        };
        // Of several that match, the newest is it.
        let selects = !selected && facts.selects(&stored.selection.vary, &stored.selection.key);
        selected |= selects;
        found.push(Variant {
            selected: selects,
            age: times.age(now).as_secs(),
            ttl: times.ttl(now),
            ..variant(stored)
        });
    }
    found
}

fn variant(stored: &StoredResponse) -> Variant {
    let shown = SHOWN.iter().filter_map(|name| {
        let value = std::str::from_utf8(stored.fields.get(name)?).ok()?;
        Some((name.to_string(), value.to_owned()))
    });
    let varies_by = match &stored.selection.vary {
        Vary::Fields(names) => names.iter().map(ToString::to_string).collect(),
        Vary::None | Vary::Any => Vec::new(),
    };
    Variant {
        selected: false,
        status: stored.status.as_u16(),
        age: 0,
        ttl: 0,
        size: stored.content.len(),
        complete: stored.content.is_complete(),
        tags: stored.tags.iter().map(ToString::to_string).collect(),
        varies_by,
        fields: shown.collect(),
    }
}

fn refuse(status: StatusCode, why: &str) -> Response<Vec<u8>> {
    render(status, &serde_json::json!({ "error": why }))
}

fn render(status: StatusCode, value: &impl Serialize) -> Response<Vec<u8>> {
    match serde_json::to_vec_pretty(value) {
        Ok(mut json) => {
            json.push(b'\n');
            respond(status, "application/json", json)
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}
