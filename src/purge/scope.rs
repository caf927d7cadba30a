//! From what a purge names to what the journal compares with.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, Method, Version};
use serde::{Deserialize, Serialize};

use super::journal::Subject;
use super::request::{PurgeRequest, PurgeTarget, UrlTarget};
use crate::cache::key::{CacheKey, keyed_host};
use crate::cache::query::keyed_query;
use crate::cache::settings::KeySettings;
use crate::config::Zone;
use crate::request::{Facts, RequestView, Scheme, SplitChoice};
use crate::rules::phase::Phases;
use crate::rules::{rewritten_target, split_target};
use crate::zone::{self, Slashes, canonical_path_with};

/// So many choices of variants are tried at most, and one split's more.
const MOST_CHOICES: usize = 1024;

/// What one entry of the journal reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The zone it is confined to.
    pub zone: Option<Box<str>>,
    /// What in it.
    pub target: Target,
}

/// What a scope reaches within its zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// One encoded primary key with all its variants.
    Key(Box<[u8]>),
    /// A cache tag, lower case.
    Tag(Box<str>),
    /// Paths on `host` that begin with the bytes of `path`.
    Prefix {
        /// Host without port.
        host: Box<str>,
        /// Begins with `/`.
        path: Box<str>,
    },
    /// A host, whatever the port.
    Host(Box<str>),
    /// All.
    Everything,
}

/// Why a purge cannot mean anything here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// No zone of this name.
    #[error("there is no zone \"{0}\"")]
    UnknownZone(String),
    /// No zone answers for this host.
    #[error("no zone answers for the host \"{0}\"")]
    UnknownHost(String),
    /// Another zone answers for this host.
    #[error("the host \"{host}\" is not of the zone \"{zone}\"")]
    ForeignHost {
        /// The host.
        host: String,
        /// The zone that was named.
        zone: String,
    },
}

impl Scope {
    /// Whether `subject` lies within, times aside.
    pub fn covers(&self, subject: &Subject<'_>) -> bool {
        let of_zone = self.zone.as_deref().is_none_or(|zone| zone == subject.zone);
        of_zone
            && match &self.target {
                Target::Key(key) => **key == *subject.key,
                Target::Tag(tag) => subject.tags.contains(tag),
                Target::Prefix { host, path } => {
                    **host == *subject.host && subject.path.starts_with(&**path)
                }
                Target::Host(host) => **host == *subject.host,
                Target::Everything => true,
            }
    }
}

/// What `request` reaches when it is made to the zone named `zone`, or to all of `zones`.
///
/// A URL stands for every key under which any rule of its zone could have stored it, and for both
/// schemes: what terminates TLS in front of Seawall is not who writes the URL. A host stands as well
/// for what its zone stores under the host that the origin is asked with.
///
/// # Errors
/// Names that nothing answers to; nothing of it may be carried out then.
pub fn scopes(
    request: &PurgeRequest,
    zone: Option<&str>,
    zones: &[Arc<Zone>],
) -> Result<Vec<Scope>, ScopeError> {
    if let Some(name) = zone.filter(|name| !zones.iter().any(|zone| zone.name == **name)) {
        return Err(ScopeError::UnknownZone(name.to_owned()));
    }
    let mut found = Vec::new();
    for target in &request.targets {
        let mut push_in = |zone: Option<&str>, target| {
            found.push(Scope {
                zone: zone.map(Box::from),
                target,
            });
        };
        let mut push = |target| push_in(zone, target);
        match target {
            PurgeTarget::Url(url) => {
                let of = zone_of(url.authority.host(), zone, zones)?;
                for key in url_keys(url, of) {
                    push(Target::Key(key));
                }
            }
            PurgeTarget::Tag(tag) => push(Target::Tag(tag.clone())),
            PurgeTarget::Prefix { host, path } => {
                let of = zone_of(host, zone, zones)?;
                let prefix = |host: &str| Target::Prefix {
                    host: host.into(),
                    path: path_in(of, path).into(),
                };
                push(prefix(host));
                for host in &of.origin_hosts {
                    push_in(Some(&of.name), prefix(without_port(host)));
                }
            }
            PurgeTarget::Host(host) => {
                let of = zone_of(host, zone, zones)?;
                push(Target::Host(host.as_str().into()));
                for host in &of.origin_hosts {
                    push_in(Some(&of.name), Target::Host(without_port(host).into()));
                }
            }
            PurgeTarget::Everything => push(Target::Everything),
        }
    }
    Ok(found)
}

fn zone_of<'z>(
    host: &str,
    wanted: Option<&str>,
    zones: &'z [Arc<Zone>],
) -> Result<&'z Zone, ScopeError> {
    let patterns = zones.iter().map(|zone| zone.hosts.as_slice());
    let zone = zone::find(patterns, host)
        .and_then(|index| zones.get(index))
        .ok_or_else(|| ScopeError::UnknownHost(host.to_owned()))?;
    match wanted {
        Some(wanted) if wanted != zone.name => Err(ScopeError::ForeignHost {
            host: host.to_owned(),
            zone: wanted.to_owned(),
        }),
        _ => Ok(zone),
    }
}

/// Every primary key under which a rule of `zone` could have stored `url`, for both schemes.
pub fn url_keys(url: &UrlTarget, zone: &Zone) -> BTreeSet<Box<[u8]>> {
    let default = KeySettings::default();
    let of_rules = zone
        .rules
        .cache_rules
        .rules
        .rules()
        .iter()
        .filter_map(|rule| rule.action.key.as_deref());
    let path = path_in(zone, &url.path);
    // Responses are stored under the URL that the origin sees.
    let rewritten = rewritten_urls(zone, url, &path);
    let mut urls = vec![(path.as_str(), url.query.as_deref())];
    urls.extend(rewritten.iter().map(|target| split_target(target)));
    let mut found = BTreeSet::new();
    let settings = of_rules.chain([&default]);
    for (settings, (path, query)) in settings.flat_map(|one| urls.iter().map(move |url| (one, url)))
    {
        let query = keyed_query(*query, settings);
        let sent = url.authority.as_str();
        let hosts = zone
            .origin_hosts
            .iter()
            .map(|resolved| keyed_host(settings, sent, resolved));
        for host in hosts.chain([sent]) {
            for scheme in [Scheme::Http, Scheme::Https] {
                let key = CacheKey {
                    zone: &zone.name,
                    scheme,
                    host,
                    path,
                    query: query.as_deref(),
                };
                found.insert(key.encode().into_boxed_slice());
            }
        }
    }
    found
}

/// The host by which prefixes and hosts are compared: an authority without its port.
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// What `url` is rewritten to, whichever variants of splits a client has. What depends on more of its
/// request cannot be known.
fn rewritten_urls(zone: &Zone, url: &UrlTarget, path: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if zone.rules.rewrite_rules.is_empty() {
        return found;
    }
    for splits in variants(&zone.rules) {
        let request = RequestView {
            method: &Method::GET,
            scheme: url.scheme,
            host: url.authority.host(),
            path,
            query: url.query.as_deref(),
            version: Version::HTTP_11,
            headers: &HeaderMap::new(),
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            session_cookie: false,
            has_body: false,
            facts: Facts {
                splits: &splits,
                ..Facts::default()
            },
        };
        let target = rewritten_target(&zone.rules, &request, slashes_in(zone), &mut ());
        found.extend(target);
    }
    found
}

/// Every choice of variants that makes a difference to rewrites, none at all included.
fn variants(phases: &Phases) -> Vec<Vec<SplitChoice>> {
    let rewrites = || phases.rewrite_rules.rules().iter();
    let counts = |name: &str| {
        let mut sources = rewrites().flat_map(|rule| {
            let values = rule.action.path.iter().chain(&rule.action.query);
            let values = values.map(ToString::to_string);
            values.chain([rule.expression.source().to_owned()])
        });
        sources.any(|source| source.contains(name))
    };
    let mut choices = vec![Vec::new()];
    let splits = phases.splits.rules().iter().map(|rule| &rule.action);
    for split in splits.filter(|split| counts(&split.name)) {
        if choices.len() > MOST_CHOICES {
            break;
        }
        for known in choices.clone() {
            for variant in &split.variants {
                let mut choice = known.clone();
                choice.push(SplitChoice {
                    split: split.name.clone(),
                    variant: variant.name.clone(),
                });
                choices.push(choice);
            }
        }
    }
    choices
}

const fn slashes_in(zone: &Zone) -> Slashes {
    if zone.merge_slashes {
        Slashes::Merge
    } else {
        Slashes::Keep
    }
}

fn path_in(zone: &Zone, path: &str) -> String {
    // It was canonical, so there is a canonical form.
    canonical_path_with(path, slashes_in(zone))
        .map_or_else(|_| path.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::super::parse_json;
    use super::*;

    const ZONES: &str = "listen = \"[::]:1\"\n\
        pools.app.servers = \"http://127.0.0.1:2\"\n\
        [zones.blog]\nhosts = \"blog.test\"\npool = \"app\"\nmerge_slashes = true\n\
        [zones.shop]\nhosts = [\"shop.test\", \"*.shop.test\"]\npool = \"app\"\n\
        [[zones.shop.cache_rules]]\nexpression = 'true'\n\
        key = { query = { exclude = [\"utm_*\"] } }\n";

    fn resolve(json: &str, zone: Option<&str>) -> Result<Vec<Scope>, ScopeError> {
        let config = crate::config::parse("test.toml", ZONES, &|_| None).unwrap();
        scopes(&parse_json(json.as_bytes()).unwrap(), zone, &config.zones)
    }

    fn key(zone: &str, scheme: Scheme, host: &str, path: &str, query: Option<&str>) -> Target {
        let key = CacheKey {
            zone,
            scheme,
            host,
            path,
            query,
        };
        Target::Key(key.encode().into())
    }

    #[test]
    fn a_url_reaches_every_key_that_its_zone_may_have_given_it() {
        let scopes = resolve(r#"{"files": ["https://shop.test/a?utm_x=1&b=2"]}"#, None).unwrap();
        let targets: Vec<_> = scopes.into_iter().map(|scope| scope.target).collect();
        assert_eq!(targets.len(), 4);
        for scheme in [Scheme::Http, Scheme::Https] {
            for query in ["b=2", "utm_x=1&b=2"] {
                assert!(targets.contains(&key("shop", scheme, "shop.test", "/a", Some(query))));
            }
        }
    }

    #[test]
    fn paths_are_those_of_the_zone() {
        let scopes = resolve(r#"{"files": ["https://blog.test//a//b"]}"#, None).unwrap();
        let expected = key("blog", Scheme::Https, "blog.test", "/a/b", None);
        assert!(scopes.iter().any(|scope| scope.target == expected));
        let prefix = |host: &str, path: &str| Target::Prefix {
            host: host.into(),
            path: path.into(),
        };
        for (written, expected) in [
            ("blog.test//a", prefix("blog.test", "/a")),
            ("eu.shop.test//a", prefix("eu.shop.test", "//a")),
        ] {
            let json = format!(r#"{{"prefixes": ["{written}"]}}"#);
            assert_eq!(resolve(&json, None).unwrap()[0].target, expected);
        }
    }

    #[test]
    fn what_is_stored_under_the_origins_host_is_reached_by_the_zones_hosts() {
        let source = "listen = \"[::]:1\"\n\
            [pools.app]\nservers = \"http://127.0.0.1:2\"\nhost_header = \"app.internal:8000\"\n\
            [zones.shop]\nhosts = [\"shop.test\"]\npool = \"app\"\n\
            [[zones.shop.cache_rules]]\nexpression = 'true'\nkey = { host = \"resolved\" }\n";
        let config = crate::config::parse("test.toml", source, &|_| None).unwrap();
        let targets = |json: &str| -> Vec<Scope> {
            scopes(&parse_json(json.as_bytes()).unwrap(), None, &config.zones).unwrap()
        };
        let urls = targets(r#"{"files": ["https://shop.test/a"]}"#);
        for host in ["shop.test", "app.internal:8000"] {
            let key = key("shop", Scheme::Https, host, "/a", None);
            assert!(urls.iter().any(|scope| scope.target == key), "{host}");
        }
        let of_origin = |target| Scope {
            zone: Some("shop".into()),
            target,
        };
        let host = of_origin(Target::Host("app.internal".into()));
        assert!(targets(r#"{"hosts": ["shop.test"]}"#).contains(&host));
        let prefix = of_origin(Target::Prefix {
            host: "app.internal".into(),
            path: "/a".into(),
        });
        assert!(targets(r#"{"prefixes": ["shop.test/a"]}"#).contains(&prefix));
    }

    #[test]
    fn hosts_are_compared_without_their_ports() {
        for (authority, host) in [
            ("a.test", "a.test"),
            ("a.test:81", "a.test"),
            ("[::1]", "[::1]"),
            ("[::1]:81", "[::1]"),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }

    #[test]
    fn a_zone_confines_what_is_purged_in_it() {
        let everything = resolve(r#"{"purge_everything": true}"#, Some("shop")).unwrap();
        assert_eq!(
            everything,
            [Scope {
                zone: Some("shop".into()),
                target: Target::Everything
            }]
        );
        let foreign = ScopeError::ForeignHost {
            host: "blog.test".into(),
            zone: "shop".into(),
        };
        for json in [
            r#"{"files": ["https://blog.test/"]}"#,
            r#"{"hosts": ["blog.test"]}"#,
            r#"{"prefixes": ["blog.test/a"]}"#,
        ] {
            assert_eq!(resolve(json, Some("shop")), Err(foreign.clone()), "{json}");
            assert!(resolve(json, Some("blog")).is_ok(), "{json}");
        }
        assert_eq!(
            resolve(r#"{"tags": ["a"]}"#, Some("shp")),
            Err(ScopeError::UnknownZone("shp".into()))
        );
        assert_eq!(
            resolve(r#"{"hosts": ["other.test"]}"#, None),
            Err(ScopeError::UnknownHost("other.test".into()))
        );
    }
}
