//! What Pingora knows of a client's connection.

use std::future::poll_fn;
use std::task::Poll;

use pingora_proxy::Session;

/// Whether a client of HTTP/2 is gone, or reset its request before anything was done about it. Such a request
/// must cost next to nothing; and its end may no longer show, so that it would be taken for one with a body.
pub(super) async fn is_reset(session: &mut Session) -> bool {
    let Some(closed) = session.as_downstream_mut().watch_h2_stream_close() else {
        return false;
    };
    let mut closed = std::pin::pin!(closed);
    poll_fn(|context| Poll::Ready(closed.as_mut().poll(context).is_ready())).await
}

/// A 103 before the answer is not the answer.
pub(super) fn nothing_final_written(session: &Session) -> bool {
    session
        .response_written()
        .is_none_or(|head| head.status.is_informational())
}
