//! The seams: everything a node takes from the machine it runs on.
//!
//! Cores never reach for a clock, a die, a socket or a thread; they are handed an [`Env`].
//! Production plugs in [`crate::system`], the simulator plugs in a world of its own, and nothing
//! else differs between the two. Ambient `Instant::now`, `SystemTime::now` and thread randomness
//! are forbidden by `clippy.toml` outside the files that implement these traits.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// A point of wall-clock time: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// The point `span` later; saturates at the end of time.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// The point `span` earlier; saturates at the beginning of time.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// Milliseconds from `earlier` to `self`; negative when `self` comes first.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// How long from `self` until `later`; zero when `later` has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.millis_since(self)).unwrap_or(0))
    }
}

/// Whole milliseconds of a span, as the signed number that [`UnixMs`] counts in.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Time as this node sees it. Timers are tokio's, so they follow [`Clock::now`].
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time: never steps, stops for nothing but the machine's sleep.
    fn now(&self) -> Instant;

    /// Wall-clock time: may be wrong, may step in both directions.
    fn wall(&self) -> UnixMs;
}

/// Where unpredictable bytes come from; seeded per node and generation in simulation.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `buffer` with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

impl dyn Entropy {
    /// A generator of its own for one component, seeded from this source.
    #[must_use]
    pub fn rng(&self) -> StdRng {
        let mut seed = [0_u8; 32];
        self.fill(&mut seed);
        StdRng::from_seed(seed)
    }

    /// 64 unpredictable bits.
    #[must_use]
    pub fn u64(&self) -> u64 {
        let mut bytes = [0_u8; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// A boxed future that can move between threads.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the end of a spawned task means for the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// The task may end whenever its work is done. A panic is logged and counted.
    Fine,
    /// The node cannot go on without this task: its end before shutdown, or its panic, stops the node.
    StopNode,
}

/// Starts tasks. Every task of a node goes through one of these, so that shutdown can wait for them,
/// a panic is never silent, and the simulator can pause a whole node.
pub trait Spawner: Send + Sync + 'static {
    /// Starts `task` under `name`; it ends by itself or when the node's shutdown token says so.
    fn spawn(&self, name: &'static str, on_exit: OnExit, task: Task);
}

/// A byte stream between two hosts: TCP in production.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// Accepts byte streams.
#[async_trait]
pub trait Listener: Send + 'static {
    /// The next connection and the address it came from. Errors are those of this one accept
    /// (out of file descriptors, connection gone); the listener stays usable.
    async fn accept(&mut self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)>;

    /// The bound address, with the real port when 0 was asked for.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The network: one UDP socket for QUIC, TCP for HTTP and for stores, names for seeds.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Binds the socket that carries all traffic inside the mesh.
    fn bind_udp(&self, addr: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>>;

    /// The timers and tasks that quinn drives its connections with.
    fn quic_runtime(&self) -> Arc<dyn quinn::Runtime>;

    /// Listens for HTTP.
    async fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listener>>;

    /// A stream to a server, a store for example. It waits as long as the operating system does: bound it.
    async fn connect(&self, addr: SocketAddr) -> io::Result<Box<dyn ByteStream>>;

    /// Addresses behind `host:port`; a literal address resolves to itself without a lookup.
    async fn resolve(&self, host_port: &str) -> io::Result<Vec<SocketAddr>>;
}

/// Held as long as nobody else may use the locked file; dropping it releases the lock.
pub trait FileLock: Send + Sync {}

/// The few files a node keeps: identity, generation, lock.
pub trait Files: Send + Sync + 'static {
    /// The whole file, or `None` when it does not exist. Files over `limit` bytes are an error.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the file atomically; when this returns, the bytes survive a power cut.
    fn write_durable(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Creates the directory and its parents, readable by the owner only.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Locks the file for this process, or `None` when another process holds it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>>;
}

/// Everything a node takes from outside, in one place.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Dice.
    pub entropy: Arc<dyn Entropy>,
    /// Sockets.
    pub network: Arc<dyn Network>,
    /// Files.
    pub files: Arc<dyn Files>,
    /// Tasks of the product: HTTP, functions, stores.
    pub spawner: Arc<dyn Spawner>,
    /// Tasks of the mesh: a thread and runtime of its own in production, so that functions and HTTP
    /// cannot starve it (measured: on a shared runtime, blocking tasks caused false deaths).
    pub mesh_spawner: Arc<dyn Spawner>,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}
