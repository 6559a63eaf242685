//! Who is in the mesh, who owns a key, how nodes talk.
//!
//! Knows nothing of functions, tasks, SQL or HTTP. Imports run one way: IO (`transport`, `gossip`,
//! `system`) on top of the cores (`roster`, `ring`) on top of the values (`id`, `member`).

pub mod env;
