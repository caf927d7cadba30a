//! Replicas that come and go: names, services and files.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::support::{NameServer, Origin, Records, Reply, Seawall, Setup, Traffic, eventually};

const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn ports(origins: &[Origin]) -> Vec<u16> {
    origins.iter().map(|origin| origin.address.port()).collect()
}

fn named(names: &[&'static str]) -> Vec<Origin> {
    let start = |name: &&'static str| {
        let name = *name;
        Origin::start(move |_| Reply::ok(name))
    };
    names.iter().map(start).collect()
}

async fn addresses(seawall: &Seawall) -> HashSet<String> {
    let pools: Value = serde_json::from_str(seawall.admin("/pools").await.text()).unwrap();
    let replicas = pools[0]["replicas"].as_array().unwrap().iter();
    let addresses = replicas.map(|replica| replica["address"].as_str().unwrap().to_owned());
    addresses.collect()
}

async fn has(seawall: &Seawall, ports: &[u16]) {
    let wanted: HashSet<String> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    eventually("the replicas to be those", async || {
        addresses(seawall).await == wanted
    })
    .await;
}

#[tokio::test]
async fn records_of_a_service_are_followed_while_requests_go_on() {
    let origins = named(&["a", "b", "c"]);
    let ports = ports(&origins);
    let names = NameServer::start().await;
    let service = |which: &[usize]| {
        let records = which.iter().map(|index| (0, 1, ports[*index], "one.test"));
        names.set("_http._tcp.app.test", 1, Records::Srv(records.collect()));
    };
    names.set("one.test", 1, Records::A(vec![HOME]));
    service(&[0, 1]);
    let seawall = Setup::servers(["\"srv://_http._tcp.app.test\"".to_owned()])
        .pool(&format!("resolver = \"{}\"", names.address))
        .start()
        .await;
    has(&seawall, &ports[..2]).await;
    let traffic = Traffic::start(seawall.address);
    service(&[1, 2]);
    has(&seawall, &ports[1..]).await;
    // A server that fails says nothing about replicas.
    names.set("_http._tcp.app.test", 1, Records::Failure);
    let asked = names.asked();
    eventually("it to be asked again", async || names.asked() > asked + 1).await;
    assert_eq!(addresses(&seawall).await.len(), 2);
    traffic.ends_without_a_failure().await;
    for event in ["replica discovered", "replica gone", "name not resolved"] {
        assert!(seawall.stderr().contains(event), "{event}");
    }
}

#[tokio::test]
async fn priorities_and_weights_of_a_service_are_honoured() {
    let origins = named(&["first", "backup"]);
    let ports = ports(&origins);
    let names = NameServer::start().await;
    names.set("one.test", 60, Records::A(vec![HOME]));
    names.set(
        "_http._tcp.app.test",
        60,
        Records::Srv(vec![
            (20, 9, ports[1], "one.test"),
            (10, 5, ports[0], "one.test"),
        ]),
    );
    let seawall = Setup::servers(["\"srv://_http._tcp.app.test\"".to_owned()])
        .pool(&format!("resolver = \"{}\"", names.address))
        .start()
        .await;
    has(&seawall, &ports).await;
    for nth in 0..8 {
        assert_eq!(seawall.get(&format!("/{nth}"), &[]).await.text(), "first");
    }
    let pools: Value = serde_json::from_str(seawall.admin("/pools").await.text()).unwrap();
    let replicas = pools[0]["replicas"].as_array().unwrap();
    let first = format!("127.0.0.1:{}", ports[0]);
    let first = replicas
        .iter()
        .find(|replica| replica["address"] == *first)
        .unwrap();
    assert_eq!(
        (&first["weight"], &first["priority"]),
        (&5.into(), &0.into())
    );
}

#[tokio::test]
async fn an_address_is_asked_for_again_when_its_time_is_over() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let port = origin.address.port();
    let names = NameServer::start().await;
    names.set("app.test", 1, Records::A(vec![HOME]));
    let server = format!("\"http://app.test:{port}\"");
    let seawall = Setup::servers([server])
        .pool(&format!(
            "resolver = \"{}\"\nresolve_interval = \"1h\"",
            names.address
        ))
        .start()
        .await;
    has(&seawall, &[port]).await;
    assert_eq!(seawall.get("/", &[]).await.status, 200);
    names.set(
        "app.test",
        1,
        Records::A(vec![HOME, Ipv4Addr::new(127, 0, 0, 2)]),
    );
    eventually("the second address", async || {
        addresses(&seawall).await.len() == 2
    })
    .await;
}

#[tokio::test]
async fn a_file_of_servers_is_watched_and_bad_content_changes_nothing() {
    let origins = named(&["a", "b"]);
    let ports = ports(&origins);
    let url = |index: usize| format!("http://{}", origins[index].address);
    let seawall = Setup::servers([])
        .pool("servers_file = \"DIR/servers.txt\"")
        .file("servers.txt", &format!("# ours\n{}\n", url(0)))
        .start()
        .await;
    has(&seawall, &ports[..1]).await;
    let traffic = Traffic::start(seawall.address);
    let write = |text: &str| std::fs::write(seawall.path("servers.txt"), text).unwrap();
    write(&format!("[\"{}\", \"{}\"]", url(0), url(1)));
    has(&seawall, &ports).await;
    write("http://no good/");
    eventually("the fault to be told", async || {
        seawall.stderr().contains("servers_file is not usable")
    })
    .await;
    assert_eq!(addresses(&seawall).await.len(), 2);
    write(&url(1));
    has(&seawall, &ports[1..]).await;
    traffic.ends_without_a_failure().await;
}

#[tokio::test]
async fn checks_may_want_more_than_a_status() {
    let origins = [
        Origin::start(|_| Reply::ok("all is well").field("X-Ready: yes")),
        Origin::start(|_| Reply::ok("all is well")),
        Origin::start(|_| Reply::ok("out of order").field("X-Ready: yes")),
        Origin::start(|_| Reply::status(302, "all is well").field("X-Ready: yes")),
    ];
    let check = "health_check = { interval = \"100ms\", fall = 1, expected_codes = [\"200-204\"], \
                 expected_body = \"is well\", expected_headers = { x-ready = \"yes\" } }";
    let seawall = Setup::before(&origins)
        .pool(check)
        .pool("panic_threshold = 0")
        .start()
        .await;
    let healthy = "seawall_origin_replicas{pool=\"app\",state=\"healthy\"}";
    eventually("all but one to fail", async || {
        seawall.metric(healthy).await == 1.0
    })
    .await;
    assert_eq!(seawall.get("/", &[]).await.field("x-ready"), Some("yes"));
}

#[tokio::test]
async fn a_check_may_only_connect() {
    let mut origins = named(&["a", "b"]);
    let check = "health_check = { type = \"tcp\", interval = \"100ms\", fall = 1 }";
    let seawall = Setup::before(&origins).pool(check).start().await;
    let healthy = "seawall_origin_replicas{pool=\"app\",state=\"healthy\"}";
    assert_eq!(seawall.metric(healthy).await, 2.0);
    origins[0].stop().await;
    eventually("it to fail", async || seawall.metric(healthy).await == 1.0).await;
    assert!(origins[1].requests().is_empty());
}
