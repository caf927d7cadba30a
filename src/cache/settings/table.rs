//! The table of all settings: key in the configuration, name, type, default.
//!
//! A line here is a setting of [`CacheSettings`] and of [`CachePatch`], stacks as rules do, and is told
//! of in the words of the configuration. What is left to do for a new one is to read it.

use std::sync::Arc;
use std::time::Duration;

use super::words::SettingValue;
use super::{
    BrowserTtl, CredentialPolicy, EdgeTtl, Eligibility, KeySettings, ReadTimeout,
    RequestCacheControl, RuleId, Setting, StaleWindows, VarySettings,
};
use crate::fields::content_coding::Codings;

macro_rules! cache_settings {
    ($($(#[doc = $doc:literal])+ $key:literal $name:ident: $type:ty = $default:expr;)+) => {
        /// Everything the cache rules decided for one request. The default holds where no rule says
        /// otherwise: the origin decides, credentials bypass.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct CacheSettings {
            $($(#[doc = $doc])+ pub $name: Setting<$type>,)+
        }

        impl Default for CacheSettings {
            fn default() -> Self {
                Self {
                    $($name: Setting::default_value($default),)+
                }
            }
        }

        impl CacheSettings {
            /// All settings in force: each by its key in the configuration, with its value in the
            /// configuration's words and the rule that set it.
            pub fn describe(&self) -> Vec<(&'static str, String, Option<RuleId>)> {
                vec![$(($key, self.$name.value.in_words(), self.$name.rule),)+]
            }
        }

        /// The settings one rule sets; `None` leaves what earlier rules said.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct CachePatch {
            $($(#[doc = $doc])+ pub $name: Option<$type>,)+
        }

        impl CachePatch {
            /// Puts what the rule `id` sets over `settings`.
            pub fn apply(&self, id: RuleId, settings: &mut CacheSettings) {
                $(if let Some(value) = &self.$name {
                    settings.$name = Setting {
                        value: value.over(&settings.$name.value),
                        rule: Some(id),
                    };
                })+
            }

            /// The settings it sets: each by its key in the configuration, with its value in the
            /// configuration's words.
            pub fn describe(&self) -> Vec<(&'static str, String)> {
                let mut found = Vec::new();
                $(if let Some(value) = &self.$name {
                    found.push(($key, value.in_words()));
                })+
                found
            }
        }
    };
}

cache_settings! {
    /// Eligible or bypass.
    "cache" eligibility: Eligibility = Eligibility::Eligible;
    /// What an Authorization field does.
    "authorization" authorization: CredentialPolicy = CredentialPolicy::Bypass;
    /// What a session cookie does.
    "session_cookie" session_cookie: CredentialPolicy = CredentialPolicy::Bypass;
    /// Edge lifetime.
    "edge_ttl" edge_ttl: Arc<EdgeTtl> = Arc::default();
    /// Browser lifetime.
    "browser_ttl" browser_ttl: BrowserTtl = BrowserTtl::RespectOrigin;
    /// Stale windows. Those that a rule does not give are an earlier rule's.
    "serve_stale" serve_stale: StaleWindows = StaleWindows::default();
    /// Whether Set-Cookie is removed from a response so that it may be stored.
    "strip_set_cookie" strip_set_cookie: bool = false;
    /// Whether a response is stored together with its Set-Cookie (RFC 9111 §7.3 lets a cache). Every
    /// later client gets that cookie, so by default it is not stored at all.
    "store_set_cookie" store_set_cookie: bool = false;
    /// Largest body to store, in bytes. The default is the store's.
    "max_object_size" max_object_size: u64 = u64::MAX;
    /// Whether a stored response is kept on disk as well, where there is one.
    "disk" disk: bool = true;
    /// Whether a stored response is kept in the reserve as well, where there is one.
    "reserve" reserve: bool = false;
    /// Smallest body to keep there, in bytes.
    "reserve_min_size" reserve_min_size: u64 = 0;
    /// At which request for a key within a while its response is stored; 1 for the first.
    "min_uses" min_uses: u32 = 1;
    /// Tags the stored response has beside its own, in the form in which tags are compared.
    "tags" tags: Arc<[Box<str>]> = Arc::default();
    /// What the client's Cache-Control does.
    "request_cache_control" request_cache_control: RequestCacheControl = RequestCacheControl::Ignore;
    /// Whether answers that blame the request (400, 405, 414, 501, …) are stored when the origin
    /// gives them a lifetime. They can be provoked, so by default they are not.
    "cache_client_errors" cache_client_errors: bool = false;
    /// Whether the answer to a POST may serve later GETs (RFC 9110 §9.3.3).
    "cache_post" cache_post: bool = false;
    /// Whether a response must be of the type that its URL's extension promises to be stored.
    "cache_deception_armor" cache_deception_armor: bool = true;
    /// What the key holds.
    "key" key: Arc<KeySettings> = Arc::default();
    /// How selecting fields are told apart.
    "vary" vary: Arc<VarySettings> = Arc::default();
    /// In which codings stored responses are kept beside themselves, for clients that accept them.
    "compression" compression: Codings = Codings::ALL;
    /// Whether `Cache-Tag` and `Surrogate-Key` are passed on to clients.
    "pass_cache_tags" pass_cache_tags: bool = false;
    /// Whether responses are fetched slice by slice, only those that clients want, where the origin
    /// gives ranges.
    "origin_range_requests" origin_range_requests: bool = false;
    /// How long before the end of its freshness a response that is wanted often is validated in the
    /// background, about; zero for not before.
    "early_revalidation" early_revalidation: Duration = Duration::ZERO;
    /// How long the origin has for the response's head.
    "read_timeout" read_timeout: ReadTimeout = ReadTimeout::OfPool;
    /// Whether the origin's own error pages are passed on where the zone has pages of its own.
    "origin_error_page_pass_through" origin_error_page_pass_through: bool = false;
}
