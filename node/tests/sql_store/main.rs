//! The SQLite store: the stories of every store, and what only files, locks and dying processes can show.

mod closing;
mod full_disk;
mod locked;
mod opening;
mod processes;
mod scratch;
mod stories;
