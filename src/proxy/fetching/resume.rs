//! The rest of a body whose upper tier went away while it sent: the next node, or the origin, is asked for it.

use http::{Method, StatusCode};

use super::super::answer;
use super::{Fetch, ask_for, origin_request};
use crate::cache::partial::{Missing, if_range, may_combine, part_of};
use crate::cache::response::ResponseView;
use crate::clock;
use crate::origin::{Answer, AnswerBody, FetchReport};
use crate::rules::phase::Priority;
use crate::store::Fill;

impl Fetch {
    /// The body that goes on where `fill` ends, of the same representation (RFC 9110 §15.3.7.3). `None` where
    /// nothing would tell that it is, or nobody has it.
    pub(super) async fn resume(&mut self, fill: &Fill) -> Option<AnswerBody> {
        let whole = fill.status == StatusCode::OK && self.lookup.head.method == Method::GET;
        let condition = if_range(&fill.fields).filter(|_| whole && self.from.is_some())?;
        let missing = Missing {
            first: fill.written(),
            last: fill.expected().map(|length| length.saturating_sub(1)),
        };
        let (head, site) = (&self.lookup.head, &self.lookup.site);
        let request = origin_request(head, site, self.request_id, |fields| {
            ask_for(fields, missing, Some(condition));
        });
        let mut report = FetchReport::default();
        let asked = self
            .asker(Priority::High)
            .ask(&request.ok()?, &mut report)
            .await
            .ok()?;
        let edited = asked.from.is_some();
        let Answer { mut head, body, .. } = asked.answer;
        answer::receive_for_store(&mut head, &self.lookup, clock::now(), edited);
        let range = part_of(&ResponseView {
            status: head.status,
            headers: &head.headers,
        });
        let fits = range.is_some_and(|range| {
            let complete = range
                .complete
                .filter(|complete| range.last + 1 == *complete);
            range.first == missing.first
                && complete.is_some()
                && fill
                    .expected()
                    .is_none_or(|length| complete == Some(length))
        });
        if !fits || !may_combine(&fill.fields, &head.headers) {
            return None;
        }
        tracing::debug!(first = missing.first, "a body goes on from elsewhere");
        self.from = asked.from;
        Some(body)
    }
}
