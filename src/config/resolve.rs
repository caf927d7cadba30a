//! From the file as written to the configuration that runs: names looked up, presets put in,
//! contradictions found.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use super::file::{ConfigFile, ZoneFile};
use super::presets::{Preset, unknown_preset};
use super::{Config, Zone};
use crate::rules::{CacheRule, CacheRuleset, RuleSource};
use crate::zone::{HostPattern, SessionCookies};

/// Resolves `file`; `faults` are those that reading found.
pub(super) fn resolve(
    name: &str,
    source: &str,
    file: ConfigFile,
    mut faults: Vec<Diagnostic>,
) -> Result<Config, Diagnostics> {
    check_listeners(&file, &mut faults);
    check_hosts(&file, &mut faults);
    let zones = file
        .zones
        .iter()
        .map(|zone| resolve_zone(name, zone, &file, &mut faults))
        .collect();
    if !faults.is_empty() {
        return Err(Diagnostics::new(name, source, faults));
    }
    Ok(Config {
        listeners: file
            .listeners
            .into_iter()
            .map(|listener| listener.value)
            .collect(),
        admin: file.admin.map(|admin| admin.value),
        server: file.server,
        client: file.client,
        cache: file.cache,
        purge: file.purge,
        log: file.log,
        pools: file.pools.into_iter().map(Arc::new).collect(),
        zones,
    })
}

fn check_listeners(file: &ConfigFile, faults: &mut Vec<Diagnostic>) {
    let mut seen = Vec::new();
    let public = file
        .listeners
        .iter()
        .map(|listener| (listener.value.address, &listener.span));
    let admin = file.admin.iter().map(|admin| (admin.value, &admin.span));
    for (address, span) in public.chain(admin) {
        if seen.contains(&address) {
            faults.push(Diagnostic {
                span: span.clone(),
                message: format!("{address} is listened on twice"),
                help: None,
            });
        }
        seen.push(address);
    }
}

fn check_hosts(file: &ConfigFile, faults: &mut Vec<Diagnostic>) {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for zone in &file.zones {
        for host in &zone.hosts {
            let text = match &host.value {
                HostPattern::Any => "*".to_owned(),
                HostPattern::Below(suffix) => format!("*{suffix}"),
                HostPattern::Exact(name) => name.clone(),
            };
            if let Some(owner) = owners.get(&text) {
                faults.push(Diagnostic {
                    span: host.span.clone(),
                    message: if *owner == zone.name.value {
                        format!("the host \"{text}\" is listed twice")
                    } else {
                        format!("the host \"{text}\" already belongs to the zone \"{owner}\"")
                    },
                    help: None,
                });
            }
            owners.insert(text, &zone.name.value);
        }
    }
}

fn resolve_zone(
    file_name: &str,
    zone: &ZoneFile,
    file: &ConfigFile,
    faults: &mut Vec<Diagnostic>,
) -> Arc<Zone> {
    check_pool(zone, file, faults);
    let mut rules = Vec::new();
    let mut cookies: Vec<String> = Vec::new();
    for name in &zone.presets {
        match Preset::named(&name.value).map(Preset::rules) {
            Some(Ok(preset)) => {
                rules.extend(preset.rules);
                cookies.extend(preset.session_cookies);
            }
            Some(Err(broken)) => faults.extend(broken.list().iter().cloned()),
            None => faults.push(unknown_preset(&name.value, name.span.clone())),
        }
    }
    rules.extend(zone.rules.iter().cloned().map(|rule| CacheRule {
        source: RuleSource {
            file: file_name.into(),
            line: rule.source.line,
        },
        ..rule
    }));
    for own in &zone.session_cookies {
        if let Err(why) = SessionCookies::with_own([own.value.as_str()]) {
            faults.push(Diagnostic {
                span: own.span.clone(),
                message: why,
                help: None,
            });
        } else {
            cookies.push(own.value.clone());
        }
    }
    if rules.len() > usize::from(u16::MAX) {
        faults.push(Diagnostic {
            span: zone.name.span.clone(),
            message: format!("the zone has {} rules; 65535 are the most", rules.len()),
            help: None,
        });
    }
    let pool = zone.pool.as_ref().map(|pool| pool.value.as_str());
    let pool = file
        .pools
        .iter()
        .find(|known| Some(known.name.as_str()) == pool);
    Arc::new(Zone {
        origin_hosts: pool
            .and_then(|pool| pool.host_header.clone())
            .into_iter()
            .collect(),
        name: zone.name.value.clone(),
        hosts: zone.hosts.iter().map(|host| host.value.clone()).collect(),
        pool: zone
            .pool
            .as_ref()
            .map(|pool| pool.value.clone())
            .unwrap_or_default(),
        merge_slashes: zone.merge_slashes,
        session_cookies: SessionCookies::with_own(cookies.iter().map(String::as_str))
            .unwrap_or_else(|_| SessionCookies::frameworks()),
        cache_rules: CacheRuleset::new(rules, file.cache.max_object_size),
    })
}

fn check_pool(zone: &ZoneFile, file: &ConfigFile, faults: &mut Vec<Diagnostic>) {
    let Some(pool) = &zone.pool else { return };
    if file.pools.iter().any(|known| known.name == pool.value) {
        return;
    }
    let names = file.pools.iter().map(|known| known.name.as_str());
    faults.push(Diagnostic {
        span: pool.span.clone(),
        message: format!("there is no pool \"{}\"", pool.value),
        help: did_you_mean(&pool.value, names)
            .or_else(|| Some(format!("add `[pools.{}]` with its `servers`", pool.value))),
    });
}
