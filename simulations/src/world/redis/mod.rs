//! A simulated Redis: hosts that speak its wire over turmoil's TCP and run the product's own scripts in the Lua that
//! Redis has. Nodes reach it with their own client, unchanged.
//!
//! ```text
//! node: RedisQueue ──> turmoil's TCP ──> host ──> server: commands, Lua ──> data
//!                                         │          └──> writes ──> replica, which lags
//!                                         └──> observer ──> history
//! ```
//!
//! | file | what |
//! |---|---|
//! | `resp` | the wire |
//! | `data`, `commands` | values, and what commands do with them |
//! | `lua` | scripts |
//! | `server` | one server: commands of its own, scripts that it knows, its clock |
//! | `hosts` | a server and its replica, and what faults do to them |
//! | `serve` | connections, and what a node meets on its way |
//! | `observe` | what scripts did, as events of the history |
//! | `damage`, `scan` | what a person may break, and the product's own scan to its end |
//! | `tables` | what is held at the end, as properties look at it |

pub mod commands;
pub mod data;
pub mod hosts;
pub mod lua;
pub mod resp;
pub mod server;

mod damage;
mod guarded;
mod observe;
mod scan;
mod serve;
mod tables;
