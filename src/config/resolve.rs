//! From the file as written to the configuration that runs: names looked up, presets put in,
//! contradictions found.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use super::file::ConfigFile;
use super::phase::PhasesFile;
use super::presets::{Preset, unknown_preset};
use super::tiers::{Tiers, check_upper_tiers};
use super::zone::ZoneFile;
use super::{Config, Pool, Zone};
use crate::guard::RateLimits;
use crate::guard::{IpAccessRules, RequestFilters};
use crate::rules::phase::{BulkRedirects, Phases, believed};
use crate::rules::{CacheRuleset, Ruleset};
use crate::zone::SessionCookies;

/// Resolves `file`; `faults` are those that reading found.
pub(super) fn resolve(
    name: &str,
    source: &str,
    mut file: ConfigFile,
    mut faults: Vec<Diagnostic>,
) -> Result<Config, Diagnostics> {
    check_listeners(&file, &mut faults);
    check_hosts(&file, &mut faults);
    check_strict_limits(&file, &mut faults);
    let (pools, largest) = (&file.pools, file.cache.max_object_size);
    let tiers = file.tiers.as_ref();
    let zones = file
        .zones
        .iter_mut()
        .map(|zone| resolve_zone(zone, (pools, tiers), largest, &mut faults))
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
        guard: file.guard,
        geo: file.geo,
        purge: file.purge,
        shared: file.shared,
        log: file.log,
        secret: file.secret,
        challenge: file.challenge,
        verified_bots: file.verified_bots,
        pools: file.pools.into_iter().map(Arc::new).collect(),
        tiers: file.tiers,
        lists: file.lists,
        tokens: file.tokens,
        zones,
        tests: file.tests,
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

/// A strict rule asks what nodes share.
fn check_strict_limits(file: &ConfigFile, faults: &mut Vec<Diagnostic>) {
    if file.shared.is_some() {
        return;
    }
    for zone in &file.zones {
        let mut rules = zone.phases.rate_limits.iter();
        if let Some(rule) = rules.find(|rule| rule.action.strict) {
            faults.push(Diagnostic {
                span: zone.name.span.clone(),
                message: format!(
                    "the rule \"{}\" is strict, which takes `[shared]`",
                    rule.name
                ),
                help: Some("add `[shared]` with its `redis`, or leave `strict` out".to_owned()),
            });
        }
    }
}

fn check_hosts(file: &ConfigFile, faults: &mut Vec<Diagnostic>) {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for zone in &file.zones {
        for host in &zone.hosts {
            let text = host.value.to_string();
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
    zone: &mut ZoneFile,
    (pools, tiers): (&[Pool], Option<&Tiers>),
    largest: u64,
    faults: &mut Vec<Diagnostic>,
) -> Arc<Zone> {
    check_pool(zone, pools, faults);
    check_upper_tiers(zone, tiers, faults);
    let mut phases = PhasesFile::default();
    let mut cookies: Vec<String> = Vec::new();
    for name in &zone.presets {
        match Preset::named(&name.value).map(Preset::rules) {
            Some(Ok(preset)) => {
                phases.append(preset.phases);
                cookies.extend(preset.session_cookies);
            }
            Some(Err(broken)) => faults.extend(broken.list().iter().cloned()),
            None => faults.push(unknown_preset(&name.value, name.span.clone())),
        }
    }
    phases.append(std::mem::take(&mut zone.phases));
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
    let mut alike: BTreeMap<u64, u64> = BTreeMap::new();
    for rule in &mut phases.rate_limits {
        let limit = &mut rule.action;
        limit.identify(&zone.name.value, &rule.name, &rule.expression);
        // Two that differ in nothing but their limits would count each request twice.
        let before = alike.entry(limit.identity).or_default();
        limit.identity = limit.identity.wrapping_add(*before);
        *before += 1;
    }
    if phases.most() > usize::from(u16::MAX) {
        faults.push(Diagnostic {
            span: zone.name.span.clone(),
            message: format!(
                "the zone has {} rules of one kind; 65535 are the most",
                phases.most()
            ),
            help: None,
        });
    }
    Arc::new(Zone {
        origin_hosts: origin_hosts(zone, &phases, pools),
        name: zone.name.value.clone(),
        hosts: zone.hosts.iter().map(|host| host.value.clone()).collect(),
        pool: zone
            .pool
            .as_ref()
            .map(|pool| pool.value.clone())
            .unwrap_or_default(),
        upper_tiers: zone
            .upper_tiers
            .iter()
            .map(|tier| tier.value.clone())
            .collect(),
        origin_fallback_max_requests: zone.origin_fallback_max_requests,
        merge_slashes: zone.merge_slashes,
        under_attack: zone.under_attack,
        session_cookies: SessionCookies::with_own(cookies.iter().map(String::as_str))
            .unwrap_or_else(|_| SessionCookies::frameworks()),
        rules: Phases {
            lockdown_rules: std::mem::take(&mut zone.lockdown_rules),
            ip_access_rules: IpAccessRules::new(std::mem::take(&mut zone.ip_access_rules)),
            request_filters: std::mem::take(&mut zone.request_filters),
            ..into_phases(phases, zone.development_mode_until, largest)
        },
    })
}

/// The hosts that origins of the zone may be asked with, beside the clients' own.
fn origin_hosts(zone: &ZoneFile, phases: &PhasesFile, pools: &[Pool]) -> Vec<String> {
    let patches = phases.origin_rules.iter().map(|rule| &rule.action);
    let own = zone.pool.iter().map(|pool| pool.value.as_str());
    let names = own.chain(patches.clone().filter_map(|patch| patch.pool.as_deref()));
    let of_pools = names
        .filter_map(|name| pools.iter().find(|pool| pool.name == name))
        .filter_map(|pool| pool.host_header.as_deref());
    let of_rules = patches.filter_map(|patch| patch.host_header.as_deref());
    let mut hosts: Vec<String> = of_pools.chain(of_rules).map(str::to_owned).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn into_phases(file: PhasesFile, development_mode_until: Option<i64>, largest: u64) -> Phases {
    Phases {
        lockdown_rules: Vec::new(),
        ip_access_rules: IpAccessRules::default(),
        request_filters: RequestFilters::default(),
        custom_rules: Ruleset::new(file.custom_rules),
        access_rules: Ruleset::new(file.access_rules),
        rate_limits: RateLimits::new(file.rate_limits),
        maintenance: Ruleset::new(file.maintenance),
        redirect_rules: Ruleset::new(file.redirects),
        bulk_redirects: BulkRedirects::new(file.bulk_redirects),
        waiting_rooms: Ruleset::new(file.waiting_rooms),
        splits: Ruleset::new(file.splits),
        rewrite_rules: Ruleset::new(file.rewrites),
        believed: believed(&file.request_headers),
        request_header_rules: Ruleset::new(file.request_headers),
        origin_rules: Ruleset::new(file.origin_rules),
        cache_rules: CacheRuleset::new(file.cache_rules, largest),
        cache_response_rules: Ruleset::new(file.cache_response_rules),
        error_rules: Ruleset::new(file.error_pages),
        response_header_rules: Ruleset::new(file.response_headers),
        development_mode_until,
    }
}

fn check_pool(zone: &ZoneFile, pools: &[Pool], faults: &mut Vec<Diagnostic>) {
    let Some(pool) = &zone.pool else { return };
    if pools.iter().any(|known| known.name == pool.value) {
        return;
    }
    let names = pools.iter().map(|known| known.name.as_str());
    faults.push(Diagnostic {
        span: pool.span.clone(),
        message: format!("there is no pool \"{}\"", pool.value),
        help: did_you_mean(&pool.value, names)
            .or_else(|| Some(format!("add `[pools.{}]` with its `servers`", pool.value))),
    });
}
