//! Tests of the log as a whole.

mod basics;
mod support;
