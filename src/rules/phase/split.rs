//! Splits: each client, or each value of an expression, gets one of several variants, and keeps it.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

use crate::cache::key::short_hash;
use crate::fields::cookies::cookies;
use crate::request::{RequestView, SplitChoice};
use crate::rules::expression::ValueExpression;

/// A choice among variants. The variant counts in the cache key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Its name.
    pub name: Arc<str>,
    /// The variants; their weights sum up to more than nothing.
    pub variants: Vec<Variant>,
    /// What makes a client keep its variant.
    pub by: SplitBy,
    /// The field in which the origin gets the variant's name.
    pub header: HeaderName,
}

/// One variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name.
    pub name: Arc<str>,
    /// Its share relative to the others.
    pub weight: u32,
}

/// What makes a client keep its variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitBy {
    /// A signed cookie that lives this many seconds.
    Cookie {
        /// Seconds.
        max_age: u64,
        /// Signs the cookie.
        key: SplitKey,
    },
    /// The hash of a value.
    Hash(ValueExpression),
}

/// Signs the cookies of splits; shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct SplitKey(Arc<[u8]>);

impl SplitKey {
    /// A key of these bytes.
    pub fn new(secret: &[u8]) -> Self {
        Self(secret.into())
    }

    /// The signature of a variant's name, in hexadecimal digits: its first 128 bits, which are enough.
    fn sign(&self, split: &str, variant: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        // A length before the name: no two pairs read alike.
        let text = format!("split {} {split} {variant}", split.len());
        let tag = hmac::sign(&key, text.as_bytes());
        let first = tag.as_ref().first_chunk().copied();
        format!("{:032x}", u128::from_be_bytes(first.unwrap_or_default()))
    }
}

impl fmt::Debug for SplitKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SplitKey")
    }
}

/// Name of the cookie that holds the variant of a split.
pub fn cookie_name(split: &str) -> String {
    format!("seawall_split_{split}")
}

impl Split {
    /// The variant for a request, and the cookie to set when it is a new choice. `chance` is a random
    /// number for those who have none.
    pub fn choose(
        &self,
        request: &RequestView<'_>,
        chance: u64,
    ) -> Option<(SplitChoice, Option<HeaderValue>)> {
        let (variant, cookie) = match &self.by {
            SplitBy::Hash(expression) => {
                let value = expression.evaluate(request, None).unwrap_or_default();
                // The name counts too, so that two splits by one value are independent.
                let hash = short_hash(&[self.name.as_bytes(), b"\0", &value].concat());
                (self.at(mix(hash))?, None)
            }
            SplitBy::Cookie { max_age, key } => {
                if let Some(variant) = self.remembered(request.headers, key) {
                    (variant, None)
                } else {
                    let variant = self.at(chance)?;
                    (variant, self.cookie(variant, *max_age, key, request))
                }
            }
        };
        let choice = SplitChoice {
            split: self.name.clone(),
            variant: variant.clone(),
        };
        Some((choice, cookie))
    }

    /// The variant that `number` falls on.
    fn at(&self, number: u64) -> Option<&Arc<str>> {
        let total: u64 = self.variants.iter().map(|one| u64::from(one.weight)).sum();
        let mut rest = number.checked_rem(total)?;
        self.variants
            .iter()
            .find(|variant| {
                let weight = u64::from(variant.weight);
                let found = rest < weight;
                rest = rest.saturating_sub(weight);
                found
            })
            .map(|variant| &variant.name)
    }

    /// The variant that a signed cookie names, if it may still be had.
    fn remembered(&self, headers: &HeaderMap, key: &SplitKey) -> Option<&Arc<str>> {
        let wanted = cookie_name(&self.name);
        let (_, value) = cookies(headers).find(|(name, _)| *name == wanted.as_bytes())?;
        let (name, signature) = std::str::from_utf8(value).ok()?.rsplit_once('.')?;
        let variant = self
            .variants
            .iter()
            .find(|variant| *variant.name == *name && variant.weight > 0)?;
        let expected = key.sign(&self.name, name);
        let genuine = subtle::ConstantTimeEq::ct_eq(signature.as_bytes(), expected.as_bytes());
        bool::from(genuine).then_some(&variant.name)
    }

    fn cookie(
        &self,
        variant: &str,
        max_age: u64,
        key: &SplitKey,
        request: &RequestView<'_>,
    ) -> Option<HeaderValue> {
        let secure = match request.scheme {
            crate::request::Scheme::Https => "; Secure",
            crate::request::Scheme::Http => "",
        };
        let name = cookie_name(&self.name);
        let signature = key.sign(&self.name, variant);
        HeaderValue::try_from(format!(
            "{name}={variant}.{signature}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}"
        ))
        .ok()
    }

    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let variants: Vec<_> = self
            .variants
            .iter()
            .map(|variant| format!("{} {}", variant.name, variant.weight))
            .collect();
        let by = match &self.by {
            SplitBy::Cookie { .. } => "cookie".to_owned(),
            SplitBy::Hash(expression) => expression.source().to_owned(),
        };
        vec![
            ("variants", variants.join(", ")),
            ("by", by),
            ("header", self.header.to_string()),
        ]
    }
}

/// Spreads the bits of a hash whose low bits are weak (the finalizer of `SplitMix64`).
const fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::{get, map};

    fn split(by: SplitBy) -> Split {
        let variant = |name: &str, weight| Variant {
            name: name.into(),
            weight,
        };
        Split {
            name: "hero".into(),
            variants: vec![variant("a", 90), variant("b", 10), variant("off", 0)],
            by,
            header: HeaderName::from_static("x-split-hero"),
        }
    }

    fn by_cookie() -> SplitBy {
        SplitBy::Cookie {
            max_age: 60,
            key: SplitKey::new(b"0123456789abcdef"),
        }
    }

    #[test]
    fn chance_falls_on_variants_by_weight() {
        let split = split(by_cookie());
        let headers = HeaderMap::new();
        let chosen = |chance| split.choose(&get("/", &headers), chance).unwrap().0.variant;
        let count = (0..1000).filter(|chance| &*chosen(*chance) == "a").count();
        assert_eq!(count, 900);
        assert_eq!(&*chosen(89), "a");
        assert_eq!(&*chosen(90), "b");
    }

    #[test]
    fn a_client_keeps_the_variant_of_its_signed_cookie() {
        let split = split(by_cookie());
        let none = HeaderMap::new();
        let (choice, cookie) = split.choose(&get("/", &none), 95).unwrap();
        assert_eq!(&*choice.variant, "b");
        let cookie = cookie.unwrap().to_str().unwrap().to_owned();
        assert!(
            cookie.contains("; Secure") && cookie.contains("Max-Age=60"),
            "{cookie}"
        );
        let pair = cookie.split(';').next().unwrap();
        let back = map(&[("cookie", &format!("x=1; {pair}"))]);
        let (again, cookie) = split.choose(&get("/", &back), 0).unwrap();
        assert_eq!((again, cookie), (choice, None));
    }

    #[test]
    fn a_forged_cookie_and_one_for_a_variant_that_is_gone_do_not_count() {
        let split = split(by_cookie());
        let key = SplitKey::new(b"0123456789abcdef");
        for value in [
            "b".to_owned(),
            "b.".to_owned(),
            format!("b.{}", key.sign("hero", "a")),
            format!("b.{}", key.sign("other", "b")),
            format!("off.{}", key.sign("hero", "off")),
            format!("c.{}", key.sign("hero", "c")),
        ] {
            let headers = map(&[("cookie", &format!("seawall_split_hero={value}"))]);
            let (choice, cookie) = split.choose(&get("/", &headers), 0).unwrap();
            assert_eq!(&*choice.variant, "a", "{value}");
            assert!(cookie.is_some());
        }
    }
}
