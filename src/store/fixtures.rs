//! For tests: a stored response, of which each names what it is about.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::body::Body;
use super::stored::{Content, Selection, Served, StoredId, StoredResponse};
use crate::cache::reuse::StoredTimes;
use crate::fields::stored::StoredFields;
use crate::fields::vary::Vary;
use crate::purge::Generation;

/// A 200 that answers every request, fresh for a minute from `now`.
pub(super) fn stored(id: StoredId, body: Body, now: SystemTime) -> StoredResponse {
    StoredResponse {
        id,
        generation: Generation::default(),
        status: StatusCode::OK,
        fields: StoredFields::default(),
        times: StoredTimes {
            received: now,
            initial_age: Duration::ZERO,
            fresh_until: now + Duration::from_mins(1),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_when_overloaded: Duration::ZERO,
            validate_always: false,
            stale_forbidden: false,
            validatable: false,
        }
        .into(),
        selection: Selection {
            vary: Vary::None,
            key: Arc::default(),
            by_language: None,
        },
        tags: Arc::default(),
        content: Content::Complete(Arc::new(body)),
        encoded: None,
        disk: true,
        uses: Served::default(),
    }
}
