//! Who is in the mesh, who owns a key, how nodes talk.
//!
//! Knows nothing of functions, tasks, SQL or HTTP. Imports run one way: IO (`mesh`, `keeper`,
//! `transport`, `gossip`, `system`) on top of the cores (`detector`, `roster`, `alone`, `ring`) on top of the values (`id`, `member`,
//! `wire`). Everything that a core needs from outside comes through the seams of [`mod@env`].

pub mod alone;
pub mod counters;
pub mod detector;
pub mod env;
mod freeze;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gossip;
pub mod id;
pub mod identity;
mod keeper;
mod late;
mod lost;
pub mod member;
mod mesh;
pub mod ring;
pub mod roster;
pub mod seeds;
pub mod system;
pub mod transport;
pub mod wire;

pub use keeper::ALL_LINKED;
pub use mesh::{JoinError, Mesh, MeshConfig, MeshParts};
pub use roster::View;

#[cfg(test)]
mod tests {
    /// The profile in `Cargo.toml` names each of our crates for it: a wrong name there would turn nothing red.
    #[test]
    fn a_sum_that_overflows_is_noticed_in_the_build_that_is_tested() {
        let most = std::hint::black_box(u8::MAX);
        assert!(std::panic::catch_unwind(|| most + std::hint::black_box(1)).is_err());
    }
}
