//! A client cannot tell which lane answered: two processes with the same configuration, one with the
//! hit lane and one without, get the same requests and must say, log and count the same.

mod compare;
mod requests;
mod site;

use compare::{Answered, Differences, Side};
use requests::{Dice, Packet, conversation};

/// Requests, unless `SEAWALL_LANES_REQUESTS` says otherwise.
const REQUESTS: usize = 8000;
/// The seed, unless `SEAWALL_LANES_SEED` says otherwise.
const SEED: u64 = 20_260_728;

fn environment<T: std::str::FromStr>(name: &str, default: T) -> T {
    let value = std::env::var(name).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_gets_the_same_from_either_lane() {
    let wanted = environment("SEAWALL_LANES_REQUESTS", REQUESTS);
    let seed = environment("SEAWALL_LANES_SEED", SEED);
    let sides = [Side::start(true).await, Side::start(false).await];
    let mut dice = Dice::new(seed, &split_cookie(&sides).await);
    let mut differences = Differences::default();
    let mut all: [Vec<Answered>; 2] = Default::default();
    let mut sent = 0;
    while sent < wanted && differences.are_few() {
        let packets = conversation(&mut dice);
        let [fast, slow] = sides.each_ref().map(|side| side.have(&packets));
        let (fast, slow) = tokio::join!(fast, slow);
        differences.of_answers(&packets, &fast, &slow);
        sent += packets
            .iter()
            .map(|packet| packet.methods.len())
            .sum::<usize>();
        all[0].extend(fast);
        all[1].extend(slow);
    }
    let hits = all[0].iter().filter(|answer| answer.is_hit()).count();
    println!(
        "seed {seed}: {sent} requests, {} answers, {hits} hits",
        all[0].len()
    );
    differences.of_logs(&sides, &all).await;
    differences.of_origins(&sides);
    differences.of_metrics(&sides).await;
    differences.are_none(seed);
    assert!(hits * 6 > sent, "too few hits to say anything: {hits}");
    let lane = "seawall_hit_lane_total";
    let (in_lane, not) = tokio::join!(sides[0].seawall.metric(lane), sides[1].seawall.metric(lane));
    let all_hits = f64::from(u32::try_from(hits).unwrap());
    assert!(
        in_lane * 2.0 > all_hits && not == 0.0,
        "{in_lane} of {hits}, {not}"
    );
}

/// The cookie of a client that was given its variant, which is the same from both.
async fn split_cookie(sides: &[Side; 2]) -> String {
    let mut cookies = Vec::new();
    for side in sides {
        let first = side.seawall.get("/split/page", &[]).await;
        let cookie = first.field("set-cookie").unwrap().to_owned();
        cookies.push(cookie.split(';').next().unwrap().to_owned());
    }
    assert_eq!(cookies[0], cookies[1]);
    cookies.remove(0)
}
