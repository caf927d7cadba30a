//! What `POST /explain` predicts is what happens.

use serde_json::{Value, json};

use crate::support::{Origin, Received, Reply, Response, Seawall, Setup};

/// A request, and the status and fields that the origin answers it with.
struct Case {
    method: &'static str,
    target: &'static str,
    fields: &'static [&'static str],
    status: u16,
    answer: &'static [&'static str],
}

const fn get(
    target: &'static str,
    fields: &'static [&'static str],
    status: u16,
    answer: &'static [&'static str],
) -> Case {
    Case {
        method: "GET",
        target,
        fields,
        status,
        answer,
    }
}

const CASES: &[Case] = &[
    get("/fresh", &[], 200, &["Cache-Control: max-age=60"]),
    get(
        "/shared",
        &[],
        200,
        &["Cache-Control: max-age=1, s-maxage=90"],
    ),
    get("/aged", &[], 200, &["Cache-Control: max-age=60", "Age: 20"]),
    get("/silent", &[], 200, &[]),
    get(
        "/cookie",
        &[],
        200,
        &["Cache-Control: max-age=60", "Set-Cookie: a=1"],
    ),
    get(
        "/private",
        &[],
        200,
        &["Cache-Control: private, max-age=60"],
    ),
    get(
        "/session",
        &["Cookie: sessionid=x"],
        200,
        &["Cache-Control: max-age=60"],
    ),
    get(
        "/basic",
        &["Authorization: Basic eDp5"],
        200,
        &["Cache-Control: max-age=60"],
    ),
    get("/a;b", &[], 200, &["Cache-Control: max-age=60"]),
    get("/ruled/bypass", &[], 200, &["Cache-Control: max-age=60"]),
    get("/ruled/ttl", &[], 200, &["Cache-Control: max-age=1"]),
    get("/ruled/ttl?404=1", &[], 404, &[]),
    get(
        "/ruled/strip",
        &[],
        200,
        &["Cache-Control: max-age=60", "Set-Cookie: a=1"],
    ),
    get(
        "/ruled/query?utm_source=x&a=1",
        &[],
        200,
        &["Cache-Control: max-age=60"],
    ),
    get(
        "/stale",
        &[],
        200,
        &["Cache-Control: max-age=60", "Age: 60", "ETag: \"1\""],
    ),
    get(
        "/stale-served",
        &[],
        200,
        &[
            "Cache-Control: max-age=60, stale-while-revalidate=60",
            "Age: 70",
        ],
    ),
    get(
        "/each-time",
        &[],
        200,
        &["Cache-Control: no-cache", "ETag: \"1\""],
    ),
    get(
        "/vary",
        &["Accept-Language: de"],
        200,
        &["Cache-Control: max-age=60", "Vary: accept-language"],
    ),
    get(
        "/vary-any",
        &[],
        200,
        &["Cache-Control: max-age=60", "Vary: *"],
    ),
    get("/missing", &[], 404, &["Cache-Control: max-age=60"]),
    get("/broken", &[], 500, &["Cache-Control: max-age=60"]),
    get("/x/../%7efresh", &[], 200, &["Cache-Control: max-age=60"]),
    get("/moved", &[], 200, &[]),
    get("/rewritten", &[], 200, &["Cache-Control: max-age=60"]),
    get(
        "/edited",
        &[],
        200,
        &["Cache-Control: no-store", "ETag: \"1\""],
    ),
    get(
        "/dressed",
        &[],
        200,
        &["Cache-Control: max-age=60", "Server: x"],
    ),
    Case {
        method: "POST",
        target: "/form",
        fields: &["Content-Length: 0"],
        status: 200,
        answer: &["Cache-Control: max-age=60"],
    },
    Case {
        method: "HEAD",
        target: "/head",
        fields: &[],
        status: 200,
        answer: &["Cache-Control: max-age=60"],
    },
];

/// Rules of every phase.
const RULES: &str = r#"
[[zones.site.redirect_rules]]
name = "moved"
expression = 'http.request.uri.path eq "/moved"'
target = "https://elsewhere.test/new"
status = 308

[[zones.site.rewrite_rules]]
name = "rewritten"
expression = 'http.request.uri.path eq "/rewritten"'
path = "/inner"

[[zones.site.cache_response_rules]]
name = "edited"
expression = 'http.request.uri.path eq "/edited"'
cache_control = { no-store = false, max-age = "120s" }

[[zones.site.response_header_rules]]
name = "dressed"
expression = 'http.request.uri.path eq "/dressed"'
set = { x-frame-options = "DENY" }
remove = ["server"]
"#;

/// Answers as the case says that the fields of the request point to.
fn scripted(request: &Received) -> Reply {
    let number: usize = request.field("x-case").unwrap().parse().unwrap();
    let case = &CASES[number];
    let reply = Reply::status(case.status, "body");
    case.answer
        .iter()
        .fold(reply, |reply, field| reply.field(*field))
}

fn split(lines: &[&str]) -> Value {
    let pairs = lines.iter().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_owned(), json!(value))
    });
    Value::Object(pairs.collect())
}

async fn explained(seawall: &Seawall, question: &Value) -> Value {
    let response = seawall
        .post_admin("/explain", &[], &question.to_string())
        .await;
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

async fn sent(seawall: &Seawall, case: &Case, number: &str) -> Response {
    let fields = [case.fields, &[number]].concat();
    let mut client = seawall.connect().await;
    client.request(case.method, case.target, &fields).await;
    client.try_response(case.method).await.unwrap()
}

/// Cache-Status without its ttl, and the ttl.
fn parts(cache_status: &str) -> (String, Option<i64>) {
    let (ttls, rest): (Vec<&str>, Vec<&str>) = cache_status
        .split("; ")
        .partition(|part| part.starts_with("ttl="));
    let ttl = ttls.first().map(|ttl| ttl["ttl=".len()..].parse().unwrap());
    (rest.join("; "), ttl)
}

fn same_status(predicted: &Value, response: &Response, what: &str) {
    assert_eq!(
        predicted["x_cache"],
        response.cache(),
        "{what}: {predicted}"
    );
    let (told, told_ttl) = parts(predicted["cache_status"].as_str().unwrap());
    let (real, real_ttl) = parts(response.field("cache-status").unwrap());
    assert_eq!(told, real, "{what}");
    let differ = told_ttl
        .zip(real_ttl)
        .map(|(told, real)| (told - real).abs());
    assert!(
        differ.unwrap_or_default() <= 3,
        "{what}: {told_ttl:?} {real_ttl:?}"
    );
    assert_eq!(told_ttl.is_some(), real_ttl.is_some(), "{what}");
}

#[tokio::test]
async fn what_is_predicted_for_the_first_and_the_second_request_happens() {
    let origin = Origin::start(scripted);
    let seawall = Setup::before([&origin])
        .rule("bypass", "/ruled/bypass", "cache = \"bypass\"")
        .rule(
            "ttl",
            "/ruled/ttl",
            "edge_ttl = { default = \"300s\", status = { \"404\" = \"no-store\" } }\nbrowser_ttl = \"10m\"",
        )
        .rule("strip", "/ruled/strip", "strip_set_cookie = true")
        .rule("query", "/ruled/query", "key = { query = { exclude = [\"utm_*\"] } }")
        .zone(RULES)
        .start()
        .await;
    for (position, case) in CASES.iter().enumerate() {
        let what = format!("{} {} -> {}", case.method, case.target, case.status);
        // Cases with one target must not meet in the store.
        let number = format!("X-Case: {position}");
        seawall_is_right_about(&seawall, case, &number, &what).await;
    }
}

async fn seawall_is_right_about(seawall: &Seawall, case: &Case, number: &str, what: &str) {
    let mut headers = split(case.fields);
    headers["x-case"] = json!(number["X-Case: ".len()..]);
    let question = json!({
        "url": format!("http://site.test{}", case.target),
        "method": case.method,
        "headers": headers,
        "client": "127.0.0.1",
        "response": { "status": case.status, "headers": split(case.answer), "length": 4 },
    });
    let predicted = explained(seawall, &question).await;
    let first = sent(seawall, case, number).await;
    if predicted["verdict"] == "redirect" {
        let answer = &predicted["answer"];
        assert_eq!(answer["status"], first.status, "{what}");
        assert_eq!(
            answer["location"],
            first.field("location").unwrap(),
            "{what}"
        );
        same_status(&answer["told"], &first, what);
        return;
    }
    let response = &predicted["response"];
    same_status(&response["first"], &first, &format!("{what}, first"));
    let client = &response["client"];
    assert_eq!(client["status"], first.status, "{what}");
    for name in ["cache-control", "x-frame-options", "server", "set-cookie"] {
        let lines = client["headers"].as_array().unwrap().iter();
        let told: Vec<&str> = lines
            .filter(|line| line[0] == name)
            .map(|line| line[1].as_str().unwrap())
            .collect();
        assert_eq!(told, first.all(name), "{what}: {name}");
    }
    let second = sent(seawall, case, number).await;
    same_status(&response["second"], &second, &format!("{what}, second"));
    let after = explained(seawall, &question).await;
    let stored = after["stored"].as_array().unwrap();
    assert_eq!(
        !stored.is_empty(),
        response["stored"] == true,
        "{what}: {stored:?}"
    );
    if let Some(variant) = stored.first() {
        assert_eq!(variant["selected"], true, "{what}");
        assert_eq!(variant["size"], 4, "{what}");
    }
}

#[tokio::test]
async fn stored_variants_are_told_without_their_bodies_and_cookies() {
    let origin = Origin::start(|_| {
        Reply::fresh("secret body")
            .field("Vary: Accept-Language")
            .field("Cache-Tag: product-7")
            .field("X-Internal: yes")
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Accept-Language: de"]).await;
    seawall.get("/p", &["Accept-Language: en"]).await;
    let question = json!({
        "url": "http://site.test/p", "headers": { "accept-language": "de" }, "client": "127.0.0.1",
    });
    let told = explained(&seawall, &question).await;
    let stored = told["stored"].as_array().unwrap();
    assert_eq!(stored.len(), 2, "{told}");
    let selected: Vec<&Value> = stored.iter().map(|variant| &variant["selected"]).collect();
    assert_eq!(selected, [false, true], "the newest comes first");
    assert_eq!(stored[1]["varies_by"], json!(["accept-language"]));
    assert_eq!(stored[1]["tags"], json!(["product-7"]));
    assert_eq!(stored[1]["fields"]["cache-control"], "max-age=60");
    let text = told.to_string();
    assert!(
        !text.contains("secret body") && !text.contains("x-internal"),
        "{text}"
    );
}

#[tokio::test]
async fn explaining_asks_neither_the_origin_nor_anything_of_the_store() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let seawall = Seawall::before(&origin).await;
    explained(
        &seawall,
        &json!({ "url": "/p", "response": { "status": 200 } }),
    )
    .await;
    assert_eq!(origin.requests().len(), 0);
    assert_eq!(seawall.get("/p", &[]).await.cache(), "MISS");
}

#[tokio::test]
async fn bad_questions_are_told_what_is_wrong() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Seawall::before(&origin).await;
    for (question, why) in [
        ("{}", "missing field `url`"),
        (
            "{\"url\": \"/\", \"hedaers\": {}}",
            "unknown field `hedaers`",
        ),
        ("{\"url\": \"shop\"}", "neither a URL nor a path"),
        ("{\"url\": \"/\", \"client\": \"x\"}", "not an IP address"),
        (
            "{\"url\": \"/\", \"response\": {\"status\": 99}}",
            "not a status",
        ),
    ] {
        let response = seawall.post_admin("/explain", &[], question).await;
        assert_eq!(response.status, 400, "{question}");
        assert!(
            response.text().contains(why),
            "{question}: {}",
            response.text()
        );
    }
    let usage = seawall.admin("/explain").await;
    assert!(usage.status == 200 && usage.text().contains("POST /explain"));
}
