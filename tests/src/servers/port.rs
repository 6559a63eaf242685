//! Ports that servers keep over restarts.
//!
//! Invariant: no two tests get the same port, also in different processes: whoever has a port holds the UDP port of
//! the same number, which nobody needs otherwise and which the kernel gives back in any case.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the system gives to connections (from 32,768), else one of these could take the port of a
/// server that is dead for a while.
const FIRST: u16 = 10_000;

/// How many there are.
const COUNT: u16 = 10_000;

/// The nodes of a Redis Cluster talk to each other so far above their ports.
const BUS: u16 = 10_000;
const _: () = assert!(FIRST + COUNT <= FIRST + BUS && FIRST + COUNT + BUS < 32_768);

/// A loopback port that belongs to the test until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: UdpSocket,
}

impl Port {
    /// One that nobody has.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes begin at different places, so that they rarely meet.
        let begin = (std::process::id() * 37) % u32::from(COUNT);
        let begin = u16::try_from(begin).expect("a remainder");
        (0..COUNT)
            .map(|_| FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
            .find_map(Self::take)
            .expect("a machine has more ports than servers")
    }

    fn take(number: u16) -> Option<Self> {
        let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (is_free(number) && is_free(number + BUS)).then_some(Self { number, _held: held })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The address of the server that listens there.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}
