//! The Beat.

pub mod timetable;
