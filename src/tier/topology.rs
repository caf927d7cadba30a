//! Which node of a tier owns a key: rendezvous hashing, by which a node that goes takes only its own keys
//! along, and one that comes takes an equal share from each of the others.

use std::net::{IpAddr, SocketAddr};

use twox_hash::XxHash3_64;

/// A node as it is ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Where it listens, which is what all who ask know it by.
    pub address: SocketAddr,
    /// Its share of the keys relative to the others.
    pub weight: u16,
}

/// A number for a key that all nodes have the same for.
pub fn key_hash(key: &[u8]) -> u64 {
    XxHash3_64::oneshot(key)
}

/// Positions in `nodes`, the owner of the key first, then who owns it when those before are gone.
pub fn ranking(key: u64, nodes: &[Ranked]) -> Vec<usize> {
    let mut ranked: Vec<(f64, SocketAddr, usize)> = (0..)
        .zip(nodes)
        .map(|(position, node)| (score(key, node), node.address, position))
        .collect();
    // The address tells equal scores apart, so that all nodes do it alike.
    ranked.sort_by(|(one, at, _), (other, other_at, _)| {
        one.total_cmp(other).then_with(|| at.cmp(other_at))
    });
    ranked
        .into_iter()
        .map(|(_, _, position)| position)
        .collect()
}

/// The lowest score wins: the time until the first event of a process whose rate is the weight, so that
/// nodes win in proportion to their weights.
fn score(key: u64, node: &Ranked) -> f64 {
    let hash = XxHash3_64::oneshot_with_seed(key, &bytes_of(node.address));
    // 52 bits and a half: within (0, 1), and exact.
    #[allow(clippy::cast_precision_loss, reason = "52 bits fit")]
    let uniform = ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    -uniform.ln() / f64::from(node.weight.max(1))
}

fn bytes_of(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    let parts = ip.octets().into_iter().chain(address.port().to_be_bytes());
    for (byte, part) in bytes.iter_mut().zip(parts) {
        *byte = part;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(number: u16, weight: u16) -> Ranked {
        Ranked {
            address: SocketAddr::from(([10, 0, 0, 1], 8000 + number)),
            weight,
        }
    }

    fn owner(key: u64, nodes: &[Ranked]) -> SocketAddr {
        nodes[ranking(key, nodes)[0]].address
    }

    #[test]
    fn keys_are_spread_by_weight() {
        let nodes = [node(1, 1), node(2, 1), node(3, 2)];
        let mut counts = [0_u32; 3];
        for key in 0..8000_u64 {
            counts[ranking(key_hash(&key.to_be_bytes()), &nodes)[0]] += 1;
        }
        for (count, expected) in counts.into_iter().zip([2000, 2000, 4000_u32]) {
            assert!(count.abs_diff(expected) < 200, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn a_node_that_goes_takes_only_its_own_keys_along(
            key: u64, count in 2_u16..20, gone in 0_u16..20, weights in proptest::collection::vec(1_u16..5, 20)
        ) {
            let nodes: Vec<_> = (0..count).map(|n| node(n, weights[usize::from(n)])).collect();
            let gone = nodes[usize::from(gone % count)].address;
            let rest: Vec<_> = nodes.iter().copied().filter(|node| node.address != gone).collect();
            let before = ranking(key, &nodes);
            if owner(key, &nodes) == gone {
                prop_assert_eq!(owner(key, &rest), nodes[before[1]].address);
            } else {
                prop_assert_eq!(owner(key, &rest), owner(key, &nodes));
            }
        }

        #[test]
        fn the_order_in_which_nodes_are_listed_does_not_count(key: u64, count in 1_u16..20, by in 0_usize..20) {
            let nodes: Vec<_> = (0..count).map(|n| node(n, 1)).collect();
            let mut turned = nodes.clone();
            turned.rotate_left(by % nodes.len());
            let order = |nodes: &[Ranked]| -> Vec<SocketAddr> {
                ranking(key, nodes).into_iter().map(|at| nodes[at].address).collect()
            };
            prop_assert_eq!(order(&nodes), order(&turned));
            let mut sorted = ranking(key, &nodes);
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..nodes.len()).collect::<Vec<_>>());
        }
    }
}
