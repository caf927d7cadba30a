//! Which site a request belongs to, and which cookies mark a session there.

mod host;
mod path;
mod session;

pub use host::{Authority, HostPattern};
pub use path::{PathError, Slashes, canonical_path, canonical_path_with};
pub use session::SessionCookies;

/// Position of the zone that answers for `host`: an exact name before a wildcard, a longer
/// wildcard before a shorter one, `*` last. `None` when no zone does.
pub fn find<'z>(zones: impl Iterator<Item = &'z [HostPattern]>, host: &str) -> Option<usize> {
    zones
        .enumerate()
        .filter_map(|(index, patterns)| {
            let best = patterns
                .iter()
                .filter_map(|pattern| pattern.specificity(host))
                .max()?;
            Some((best, index))
        })
        // On equal terms the first zone wins; the configuration refuses equal patterns anyway.
        .max_by_key(|(best, index)| (*best, std::cmp::Reverse(*index)))
        .map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_zone_answers() {
        let zones: Vec<Vec<HostPattern>> = [
            vec!["*"],
            vec!["*.example.com"],
            vec!["shop.example.com", "example.com"],
            vec!["*.eu.example.com"],
        ]
        .iter()
        .map(|hosts| {
            hosts
                .iter()
                .map(|host| HostPattern::parse(host).unwrap())
                .collect()
        })
        .collect();
        let find = |host| find(zones.iter().map(Vec::as_slice), host);
        assert_eq!(find("shop.example.com"), Some(2));
        assert_eq!(find("example.com"), Some(2));
        assert_eq!(find("a.eu.example.com"), Some(3));
        assert_eq!(find("blog.example.com"), Some(1));
        assert_eq!(find("other.test"), Some(0));
        let exact = [HostPattern::parse("a.test").unwrap()];
        assert_eq!(super::find(std::iter::once(&exact[..]), "b.test"), None);
    }
}
