//! Access rules: what a request must show to be let in. For staging sites, for media that were paid for, for
//! APIs whose tokens are verified before the origin is troubled.

mod basic;
mod signed;

use std::sync::Arc;

use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};

pub use basic::{Basic, Credentials};
pub use signed::{SignedUrl, without};

use super::token::{TokenFault, Verifier};
use crate::request::RequestView;

/// What a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessRule {
    /// A name and a password (RFC 7617).
    Basic(Basic),
    /// A valid token.
    Token(Arc<Verifier>),
    /// A URL that was signed.
    SignedUrl(SignedUrl),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access<'z> {
    /// The request may pass.
    Granted,
    /// It may pass, without this parameter, which is nobody else's matter.
    GrantedWithout(&'z str),
    /// It may pass if these are right, which takes long to find out, and is refused otherwise.
    Check(Credentials<'z>, Refusal),
    /// It may not.
    Refused(Refusal),
}

/// Why a request may not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 401 or 403.
    pub status: StatusCode,
    /// What the client may do about it.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

impl AccessRule {
    /// Whether `request` shows what the rule asks for.
    pub fn ask(&self, request: &RequestView<'_>) -> Access<'_> {
        match self {
            Self::Basic(basic) => match basic.credentials(request.headers) {
                Some(credentials) => Access::Check(credentials, basic.refusal()),
                None => Access::Refused(basic.refusal()),
            },
            Self::Token(verifier) => {
                let now = request.facts.unix_seconds;
                match verifier.verify(request.headers, now) {
                    Ok(_) => Access::Granted,
                    Err(fault) => Access::Refused(of_token(fault)),
                }
            }
            Self::SignedUrl(signed) => {
                let now = request.facts.unix_seconds;
                if signed.holds(request.path, request.query, now) {
                    Access::GrantedWithout(&signed.parameter)
                } else {
                    Access::Refused(Refusal {
                        status: StatusCode::FORBIDDEN,
                        fields: Vec::new(),
                    })
                }
            }
        }
    }

    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Basic(basic) => vec![
                ("require", "basic".to_owned()),
                ("realm", basic.realm.clone()),
                ("users", format!("{} users", basic.users())),
            ],
            Self::Token(verifier) => vec![
                ("require", "jwt".to_owned()),
                ("jwt", verifier.settings.name.clone()),
            ],
            Self::SignedUrl(signed) => vec![
                ("require", "signed_url".to_owned()),
                ("parameter", signed.parameter.clone()),
                ("valid_for", format!("{}s", signed.valid_for)),
            ],
        }
    }
}

/// RFC 6750 §3.
fn of_token(fault: TokenFault) -> Refusal {
    let challenge = match fault {
        TokenFault::Missing => "Bearer",
        TokenFault::Invalid => r#"Bearer error="invalid_token""#,
        TokenFault::Expired => {
            r#"Bearer error="invalid_token", error_description="the token is not valid now""#
        }
    };
    Refusal {
        status: StatusCode::UNAUTHORIZED,
        fields: vec![(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))],
    }
}
