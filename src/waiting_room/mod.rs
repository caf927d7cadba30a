//! Waiting rooms: who may go on to the application when more come than it can take, in which order, and the
//! signed cookies by which clients keep their places.
//!
//! [`Room`] counts, and knows nobody: a client's cookie says when it came and when it was counted last, and
//! the room has a number for each such moment. What a cookie says is believed as often as there are clients
//! counted at that moment, so that a copied cookie brings nobody in beside its owner.

mod cookie;
mod count;
mod page;
mod queue;
mod room;
mod sessions;

pub use cookie::{COOKIE_PREFIX, cookie, read};
pub use page::{Format, Page, REFRESH, fill, page};
pub use room::{Claim, Figures, Limits, Method, Room, Verdict, Wait};
