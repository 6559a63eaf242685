//! The Beat.

pub mod pending;
pub mod plan;
pub mod timetable;
