//! Tests of the log as a whole.

mod basics;
mod damage;
mod faults;
mod kill;
mod model;
mod order;
mod reclaim;
mod support;
