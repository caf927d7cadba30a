//! `CDN-Loop` (RFC 8586): which nodes a request has come by.

use http::{HeaderMap, HeaderName};

use super::syntax;

/// The field. Each node appends itself, and nobody removes anything (RFC 8586 §2).
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Whether the request came by `node` before. Parameters do not count.
pub fn came_by(fields: &HeaderMap, node: &str) -> bool {
    let lines = fields.get_all(CDN_LOOP).iter();
    lines
        .flat_map(|line| syntax::members(line.as_bytes()))
        .any(|member| {
            let (id, _) = syntax::split_once(member, b';');
            syntax::trim_ows(id).eq_ignore_ascii_case(node.as_bytes())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::map;

    #[test]
    fn rfc8586_2_a_node_finds_itself_among_others() {
        let fields = map(&[
            ("cdn-loop", "other.example, Edge-1;version=\"1, edge-3\""),
            ("cdn-loop", "edge-2 ; a=b"),
        ]);
        for node in ["edge-1", "EDGE-2", "other.example"] {
            assert!(came_by(&fields, node), "{node}");
        }
        for node in ["edge", "edge-3", "edge-11", "a"] {
            assert!(!came_by(&fields, node), "{node}");
        }
        assert!(!came_by(&map(&[]), "edge-1"));
    }
}
