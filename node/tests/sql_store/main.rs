//! The SQLite store: the stories of every store, and what only files, locks and dying processes can show.

#![expect(clippy::disallowed_methods, reason = "it measures real time, and kills at some moment")]

mod closing;
mod full_disk;
mod locked;
mod moved;
mod odd_rows;
mod opening;
mod processes;
mod scratch;
mod stories;
