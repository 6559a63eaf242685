//! What users define: functions and schedules.

pub mod cache;
pub mod entry;
pub mod function;
pub mod manifest;
pub mod name;
pub mod plan;
pub mod queue;
pub mod schedule;
