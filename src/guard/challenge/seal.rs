//! What the challenge hands out: short texts, signed, and bound to whom they were given.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use http::header::USER_AGENT;
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::request::RequestView;

/// Bytes of what is signed.
const CLAIM: usize = 14;
/// Bytes of the signature.
const TAG: usize = 16;
/// Characters of the text.
pub const TEXT: usize = 40;

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A puzzle to solve.
    Puzzle,
    /// A ticket that is worth something after a while.
    Ticket,
    /// Leave to pass.
    Clearance,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Puzzle => b'P',
            Self::Ticket => b'T',
            Self::Clearance => b'C',
        }
    }
}

/// What a text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it is for.
    pub kind: Kind,
    /// The difficulty of a puzzle, the seconds of a ticket.
    pub number: u8,
    /// When it was made, in seconds since 1970; of a clearance, when it ends.
    pub time: u32,
    /// Tells it from others.
    pub nonce: u64,
}

impl Claim {
    fn bytes(self) -> [u8; CLAIM] {
        let mut bytes = [
            self.kind.byte(),
            self.number,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        let rest = self.time.to_be_bytes().into_iter();
        let rest = rest.chain(self.nonce.to_be_bytes());
        for (to, from) in bytes.iter_mut().skip(2).zip(rest) {
            *to = from;
        }
        bytes
    }
}

/// A signed text, whoever it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    claim: [u8; CLAIM],
    tag: [u8; TAG],
}

impl Sealed {
    /// Reads a text, of which there is one form alone.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; CLAIM + TAG];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        if text.len() != TEXT || length != bytes.len() {
            return None;
        }
        Some(Self {
            claim: *bytes.first_chunk()?,
            tag: *bytes.last_chunk()?,
        })
    }

    /// As it is written.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode([self.claim.as_slice(), self.tag.as_slice()].concat())
    }

    /// A number that no other genuine text has.
    pub fn id(&self) -> u64 {
        u64::from_be_bytes(self.tag.first_chunk().copied().unwrap_or_default())
    }

    fn claim(&self, kind: Kind) -> Option<Claim> {
        let (head, rest) = self.claim.split_first_chunk::<2>()?;
        let (time, nonce) = rest.split_first_chunk::<4>()?;
        let [byte, number] = *head;
        (byte == kind.byte()).then_some(Claim {
            kind,
            number,
            time: u32::from_be_bytes(*time),
            nonce: u64::from_be_bytes(*nonce.first_chunk()?),
        })
    }
}

/// Whom a text is for.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The zone's name.
    pub zone: &'a str,
    /// The host asked for.
    pub host: &'a str,
    /// The client, of whose address the network counts.
    pub client: IpAddr,
    /// What it calls itself.
    pub user_agent: &'a [u8],
}

impl<'a> Holder<'a> {
    /// Who sent `request`.
    pub fn of(zone: &'a str, request: &RequestView<'a>) -> Self {
        let user_agent = request.headers.get(USER_AGENT);
        Self {
            zone,
            host: request.host,
            client: request.client,
            user_agent: user_agent.map(HeaderValue::as_bytes).unwrap_or_default(),
        }
    }
}

/// Signs and verifies.
#[derive(Debug)]
pub struct Keys(hmac::Key);

impl Keys {
    /// From a secret that may be used for other things too.
    pub fn new(secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let own = hmac::sign(&secret, b"seawall challenge 1");
        Self(hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()))
    }

    /// Signs `claim` for `holder`; `beside` is what else it is bound to.
    pub fn seal(&self, claim: Claim, holder: &Holder<'_>, beside: &[u8]) -> Sealed {
        let claim = claim.bytes();
        let tag = self.tag(&claim, holder, beside);
        Sealed { claim, tag }
    }

    /// What `sealed` says, if it is genuine, of this kind, and for `holder`.
    pub fn open(
        &self,
        sealed: &Sealed,
        kind: Kind,
        holder: &Holder<'_>,
        beside: &[u8],
    ) -> Option<Claim> {
        let claim = sealed.claim(kind)?;
        let expected = self.tag(&sealed.claim, holder, beside);
        bool::from(expected.ct_eq(&sealed.tag)).then_some(claim)
    }

    fn tag(&self, claim: &[u8; CLAIM], holder: &Holder<'_>, beside: &[u8]) -> [u8; TAG] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(claim);
        context.update(&network(holder.client));
        let parts = [
            holder.zone.as_bytes(),
            holder.host.as_bytes(),
            holder.user_agent,
            beside,
        ];
        for part in parts {
            // Lengths before the parts: no two lists read alike.
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            context.update(&length.to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// What of an address counts: 24 bits of an IPv4 address, as mobile networks give a client now this one of
/// its neighbours and now that, and 64 of an IPv6 address, which is what a household has.
fn network(client: IpAddr) -> [u8; 9] {
    let mut network = [0; 9];
    let (kind, kept): (u8, &[u8]) = match client.to_canonical() {
        IpAddr::V4(address) => (4, &address.octets()[..3]),
        IpAddr::V6(address) => (6, &address.octets()[..8]),
    };
    let bytes = std::iter::once(&kind).chain(kept);
    for (to, from) in network.iter_mut().zip(bytes) {
        *to = *from;
    }
    network
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holder() -> Holder<'static> {
        Holder {
            zone: "shop",
            host: "shop.test",
            client: [203, 0, 113, 9].into(),
            user_agent: b"Mozilla/5.0",
        }
    }

    fn claim() -> Claim {
        Claim {
            kind: Kind::Puzzle,
            number: 18,
            time: 1_800_000_000,
            nonce: 7,
        }
    }

    fn keys() -> Keys {
        Keys::new(b"0123456789abcdef")
    }

    #[test]
    fn a_text_says_what_was_sealed_to_its_holder_alone() {
        let sealed = keys().seal(claim(), &holder(), b"/a");
        let text = sealed.text();
        assert_eq!(text.len(), TEXT);
        let read = Sealed::parse(text.as_bytes()).unwrap();
        let open = |holder: &Holder<'_>| keys().open(&read, Kind::Puzzle, holder, b"/a");
        assert_eq!(open(&holder()), Some(claim()));
        let neighbour = Holder {
            client: [203, 0, 113, 200].into(),
            ..holder()
        };
        assert_eq!(open(&neighbour), Some(claim()));
        for foreign in [
            Holder {
                zone: "shopshop",
                host: ".test",
                ..holder()
            },
            Holder {
                host: "www.shop.test",
                ..holder()
            },
            Holder {
                client: [203, 0, 112, 9].into(),
                ..holder()
            },
            Holder {
                client: "2001:db8::1".parse().unwrap(),
                ..holder()
            },
            Holder {
                user_agent: b"curl/8",
                ..holder()
            },
        ] {
            assert_eq!(open(&foreign), None, "{foreign:?}");
        }
        let other = Keys::new(b"another secret 1");
        assert_eq!(other.open(&read, Kind::Puzzle, &holder(), b"/a"), None);
        assert_eq!(keys().open(&read, Kind::Puzzle, &holder(), b"/b"), None);
        assert_eq!(keys().open(&read, Kind::Clearance, &holder(), b"/a"), None);
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("203.0.113.1"), network("::ffff:203.0.113.254"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }

    proptest! {
        #[test]
        fn a_text_with_any_byte_changed_is_refused(
            at in 0..TEXT,
            to in 0_u8..=255,
            number in 0_u8..=255,
            time: u32,
            nonce: u64,
        ) {
            let claim = Claim { kind: Kind::Clearance, number, time, nonce };
            let mut text = keys().seal(claim, &holder(), b"").text().into_bytes();
            prop_assume!(text[at] != to);
            text[at] = to;
            let opened = Sealed::parse(&text)
                .and_then(|sealed| keys().open(&sealed, Kind::Clearance, &holder(), b""));
            prop_assert_eq!(opened, None);
        }

        #[test]
        fn a_text_is_what_was_sealed(number: u8, time: u32, nonce: u64) {
            let claim = Claim { kind: Kind::Ticket, number, time, nonce };
            let text = keys().seal(claim, &holder(), b"/x").text();
            let sealed = Sealed::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(keys().open(&sealed, Kind::Ticket, &holder(), b"/x"), Some(claim));
        }

        #[test]
        fn other_texts_are_no_texts(text in proptest::collection::vec(0_u8..=255, 0..60)) {
            if let Some(sealed) = Sealed::parse(&text) {
                prop_assert_eq!(sealed.text().into_bytes(), text);
            }
        }
    }
}
