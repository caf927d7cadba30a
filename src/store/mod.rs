//! Stored responses, fetches in progress, and purges: bounded memory, shared by all zones.
//!
//! Owns the bytes and nothing of policy: what may be stored, reused or combined is decided in
//! [`crate::cache`] before anything arrives here. A [`Resource`] holds everything stored under one
//! URI; [`MemoryStore`] finds it; an [`Encoded`] has what a response is in other codings; [`Slices`] keeps
//! large bodies in pieces; [`Uses`] counts how often keys are asked for; a [`Flight`] is a fetch under way,
//! which others may wait for, and a [`Fill`] its body, which they read along.

mod body;
mod disk;
mod encoded;
mod fill;
#[cfg(test)]
mod fixtures;
mod flight;
mod load;
pub mod log;
mod memory;
mod purge;
mod purge_log;
pub mod record;
mod reserve;
mod resource;
mod slices;
mod stored;
mod sweep;
mod times;
mod uses;

pub use body::Body;
pub use disk::DiskStatistics;
pub use encoded::{Encoded, Kept, Representation};
pub use fill::{Budget, Fill, FillError, FillReader, Keep};
pub use flight::{Boarding, Flight, FlightKey, Flights, Landing, Lead};
pub use memory::{MemoryStore, StoreStatistics};
pub use purge::{Begun, Purges};
pub use reserve::{ReserveStatistics, Wanted};
pub use resource::Resource;
pub use slices::{MissingSlice, SLICE, SliceFailure, SliceTier, Sliced, Slices, cut, positions};
pub use stored::{Content, Part, Selection, Served, StoreKey, StoredId, StoredResponse, shared};
pub use times::Times;
pub use uses::Uses;
