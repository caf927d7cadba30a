//! The findings there are, and why each is one.

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Its name, as `lint_allow` takes it.
    pub name: &'static str,
    /// Whether it is likely to do harm.
    pub severity: Severity,
    /// Why it matters.
    pub why: &'static str,
    /// What to do about it in general.
    pub remedy: &'static str,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something does not do what it says, or does harm.
    Warning,
    /// Something could be better, or deserves a second look.
    Note,
}

impl Severity {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl Code {
    /// The code of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CODES.iter().copied().find(|code| code.name == name)
    }
}

macro_rules! codes {
    ($($id:ident: $severity:ident, $name:literal, $why:literal, $remedy:literal;)+) => {
        $(pub(super) const $id: &Code = &Code {
            name: $name,
            severity: Severity::$severity,
            why: $why,
            remedy: $remedy,
        };)+

        /// All of them.
        pub const CODES: &[&Code] = &[$($id),+];
    };
}

codes! {
    SHADOWED_RULE: Warning, "shadowed-rule",
        "rules stack, and for each setting the last match wins: later rules that match whenever this one \
         does set all of its settings again, so it has no effect",
        "move the rule behind those that overrule it, make them narrower, or remove it";
    UNREACHABLE_RULE: Warning, "unreachable-rule",
        "the first rule of this kind that matches answers: an earlier one matches whenever this one does",
        "move the narrower rule to the front, or remove it";
    NEVER_MATCHES: Warning, "never-matches",
        "the expression, or a part of it, asks for what no request has, so it does nothing where \
         something was meant",
        "write the value as the field says it: `seawall explain URL` shows which rules a request matches";
    EXPIRED_RULE: Note, "expired-rule",
        "the rule's time is over: it does nothing any more",
        "remove it, or give `expires` a later time";
    UNDONE_BYPASS: Warning, "undone-bypass",
        "for each setting the last match wins, so `cache = \"eligible\"` undoes an earlier \
         `cache = \"bypass\"` for what matches both; eligible is the default anyway",
        "leave `cache` out of the later rule, put it before the earlier one, or make it narrower";
    STORES_SET_COOKIE: Warning, "stores-set-cookie",
        "a cookie that is stored is given to everybody who gets the stored response: when it is a session, \
         they are all the same user",
        "leave responses with Set-Cookie out of the store, or let the application not set it";
    STRIPS_SET_COOKIE: Warning, "strips-set-cookie",
        "without its Set-Cookie the answer may be stored, also where the cookie began a session: nobody \
         can log in there, and pages made for one visitor are shared",
        "name the paths whose cookies do not matter";
    PERSONALISED_PAGE: Warning, "personalised-page",
        "where a credential is ignored, the page that is made for one user is stored and given to others",
        "name the paths or file types that are the same for everybody, or put the cookie into the key";
    BROAD_OVERRIDE: Note, "broad-override",
        "`override_origin` keeps also what the origin answers with `no-cache`, `max-age=0` or no lifetime, \
         which may be how it tells that a page is somebody's own; `private` and `no-store` hold",
        "name the paths, or write `mode = \"respect_origin\"` to fill gaps alone";
    S_MAXAGE_WITHOUT_STALE: Note, "s-maxage-without-stale",
        "with `with_s_maxage = false` nothing stale is served of a response with `s-maxage`, whatever \
         windows are given beside it; frameworks such as Next.js send `s-maxage` with every page",
        "leave `with_s_maxage` out, or the windows";
    UNKEYED_INPUT: Note, "unkeyed-input",
        "what reaches the origin and is not in the key must not change the answer: whoever sends it first \
         chooses what everybody gets",
        "let it count in the key, or make sure that the application does not answer by it";
    PER_CLIENT_KEY: Warning, "per-client-key",
        "what is another for nearly every client makes an entry of the cache for each of them: hardly \
         anything is hit, and the store is filled with copies",
        "let what counts be a cookie, a class or a list of values: `cookies`, `device`, `country`, \
         `header_contains`";
    REGEX_COULD_BE_WILDCARD: Note, "regex-could-be-wildcard",
        "a plain operator says the same, is easier to read, and lets Seawall find the rule by its \
         prefix, path or extension",
        "write the operator in its place";
    REMOVED_NO_STORE: Warning, "removed-no-store",
        "`private` and `no-store` are how the origin says that a response is one user's own; nothing else \
         keeps it out of the store once they are gone",
        "name the file types that are the same for everybody, or change what the origin says";
    REDIRECT_TO_ITSELF: Warning, "redirect-to-itself",
        "a redirect that leads to the very URL asked for is not made, so this one does nothing",
        "correct source or target";
    REDIRECT_LOOP: Warning, "redirect-loop",
        "each redirect leads to the next and the last one back to the first: browsers give up",
        "let one of them lead elsewhere";
    REDIRECT_CHAIN: Note, "redirect-chain",
        "every step costs visitors a round trip, and search engines follow few of them",
        "write the last target at once";
    DUPLICATE_REDIRECT: Warning, "duplicate-redirect",
        "of two rows for the same URLs the later one holds",
        "remove one of them";
    DUPLICATE_RULE_NAME: Note, "duplicate-rule-name",
        "logs, Cache-Status and `seawall explain` name rules: two of one name cannot be told apart",
        "give each rule a name of its own";
    LOCALITY_OF_NOTHING: Warning, "locality-of-nothing",
        "servers are preferred when they are where the node is, and nothing says where that is: all are alike",
        "write `locality` under [server], or take it from the servers";
    EVERYBODY_TRUSTED: Warning, "everybody-trusted",
        "what a trusted proxy says of the client is believed: when everybody is one, every client is whoever it \
         likes, and what is blocked, limited or allowed by address is not",
        "name the networks of your proxies alone";
    EMPTY_LIST: Warning, "empty-list",
        "a rule about nobody does nothing, and a lockdown rule that allows nobody keeps everybody out",
        "look whether the file of the list is as it should be, or remove the rule";
    ALLOWED_ANYWAY: Warning, "allowed-anyway",
        "`allow` goes before everything else, however narrow the other rule is: whom the rule is about is let in",
        "take these addresses out of the rule that allows them, write a lockdown rule, or remove this one";
    NO_DATABASE: Warning, "no-database",
        "without a database no address has a country, or an autonomous system: what asks for one never holds, and \
         what asks for another one always does",
        "write `country_database`, or `asn_database`, under [geo]";
    EVADABLE_LIMIT: Note, "evadable-limit",
        "who sends another value with each request is never over the limit, and who sends that of somebody else \
         has them stopped",
        "count `ip.src` as well, or limit each client in a rule of its own";
    SHORT_MITIGATION: Note, "short-mitigation",
        "when the timeout is over, what was counted still is too much: it begins again until the period is over",
        "let it be as long as the period, or leave it out";
    CHALLENGE_WITHOUT_SECRET: Warning, "challenge-without-secret",
        "each node signs with a secret that it made at its start: who has passed the challenge of one node is \
         challenged by the next one, and by the same one after a restart",
        "write the same `secret` at the top of the file of every node";
    UNUSED_POOL: Note, "unused-pool",
        "no zone and no origin rule refers to the pool, so its servers get health checks and nothing else",
        "remove it, or refer to it";
    UNUSED_LIST: Note, "unused-list",
        "no expression refers to the list, so what it is meant to keep in or out is not",
        "remove it, or write `in $name` where it is meant";
    FORGETFUL_ROOM: Note, "forgetful-waiting-room",
        "the secret that signs the cookies of those who wait is made at each start: after a restart, and at \
         another node, all are newcomers",
        "write `secret = \"${SEAWALL_SECRET}\"` at the top of the file";
    TIER_IS_THIS_NODE: Warning, "tier-is-this-node",
        "a node that asks itself refuses the request (CDN-Loop), and then asks the next tier or the origin: \
         each miss costs a round for nothing",
        "name the address of another node, or leave `upper_tiers` out on the node that asks the origin";
    UNUSED_TIER: Note, "unused-tier",
        "no zone names the tier among its `upper_tiers`, so its nodes are never asked",
        "remove it, or name it in the zones that it is meant for";
}
