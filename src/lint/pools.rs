//! Findings about how pools choose.

use super::codes::LOCALITY_OF_NOTHING;
use super::finding::Findings;
use crate::config::Config;

pub(super) fn check(config: &Config, found: &mut Findings) {
    for pool in &config.pools {
        let placed = pool.servers.iter().any(|server| server.locality.is_some());
        if placed && pool.locality.is_none() {
            let name = &pool.name;
            let message =
                format!("servers of the pool \"{name}\" have a `locality`, and this node has none");
            found.add_table(LOCALITY_OF_NOTHING, "pools", name, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lint;
    use crate::config::parse;

    #[test]
    fn places_of_servers_matter_to_a_node_that_has_one() {
        let codes = |server: &str| {
            let source = format!(
                "listen = \"[::]:80\"\nserver = {{ {server} }}\n[pools.app]\n\
                 servers = [{{ url = \"http://localhost\", locality = \"fra\" }}]\n\
                 [zones.site]\nhosts = \"*\"\npool = \"app\"\n"
            );
            let config = parse("test.toml", &source, &|_| None).unwrap();
            let found = lint("test.toml", &source, &config, 0);
            let codes = found.list().iter().map(|one| one.code.name);
            codes.collect::<Vec<_>>()
        };
        assert_eq!(codes(""), ["locality-of-nothing"]);
        assert_eq!(codes("locality = \"ams\""), [""; 0]);
    }
}
