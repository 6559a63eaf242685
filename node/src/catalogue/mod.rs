//! What users define: functions and schedules.

pub mod function;
pub mod name;
pub mod schedule;
