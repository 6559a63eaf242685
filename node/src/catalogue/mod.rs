//! What users define: functions and schedules.

pub mod cache;
pub mod entry;
pub mod function;
pub mod name;
pub mod schedule;
