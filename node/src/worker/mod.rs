//! Runs functions.

pub mod runtime;
