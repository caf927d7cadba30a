//! Stored responses, fetches in progress, and purges: bounded memory, shared by all zones.
//!
//! Owns the bytes and nothing of policy: what may be stored, reused or combined is decided in
//! [`crate::cache`] before anything arrives here. A [`Resource`] holds everything stored under one
//! URI; [`MemoryStore`] finds it; an [`Encoded`] keeps what a response is in other codings; [`Uses`] counts how often keys are asked for; a [`Flight`] is a fetch under way, which others may wait for, and
//! a [`Fill`] its body, which they read along.

mod body;
mod encoded;
mod fill;
mod flight;
mod memory;
mod purge;
mod resource;
mod stored;
mod uses;

pub use body::Body;
pub use encoded::{Encoded, Kept, Representation};
pub use fill::{Budget, Fill, FillError, FillReader, Keep};
pub use flight::{Boarding, Flight, FlightKey, Flights, Landing, Lead};
pub use memory::{MemoryStore, StoreStatistics};
pub use purge::{Begun, Purges};
pub use resource::Resource;
pub use stored::{Content, Part, Selection, StoreKey, StoredId, StoredResponse, Subject};
pub use uses::Uses;
