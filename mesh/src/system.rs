//! The seams as production has them: the machine's own clock, dice, sockets, files and threads.
#![expect(clippy::disallowed_methods, reason = "this file implements the seams of env.rs")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::FutureExt;
use ring::rand::SecureRandom;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::env::{
    ByteStream, Clock, Entropy, Env, FileLock, Files, Listener, Network, OnExit, Spawner, Task, UnixMs,
};

/// This machine as a node sees it; only where its tasks run is left to say.
#[must_use]
pub fn environment(spawner: Arc<dyn Spawner>, mesh_spawner: Arc<dyn Spawner>) -> Env {
    Env {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        network: Arc::new(SystemNetwork),
        files: Arc::new(SystemFiles),
        spawner,
        mesh_spawner,
    }
}

/// The machine's clocks.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> UnixMs {
        // A clock before 1970 is a broken one: reading it as 1970 keeps arithmetic simple.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The operating system's generator, through ring.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        ring::rand::SystemRandom::new()
            .fill(buffer)
            .expect("the operating system's generator does not fail once it has been seeded at boot");
    }
}

/// The machine's network.
pub struct SystemNetwork;

/// Large enough for bursts between two polls; measured: with the kernel's default some were lost.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

#[async_trait]
impl Network for SystemNetwork {
    fn bind_udp(&self, addr: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        let socket = std::net::UdpSocket::bind(addr)?;
        let options = socket2::SockRef::from(&socket);
        // The kernel caps these at its own limits, and less is only slower: errors do not matter.
        let _ = options.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = options.set_send_buffer_size(SOCKET_BUFFER);
        socket.set_nonblocking(true)?;
        quinn::Runtime::wrap_udp_socket(&quinn::TokioRuntime, socket)
    }

    fn quic_runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(quinn::TokioRuntime)
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(SystemListener(tokio::net::TcpListener::bind(addr).await?)))
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        let stream = tokio::net::TcpStream::connect(addr).await?;
        // Commands are small, and each waits for its answer.
        let _ = stream.set_nodelay(true);
        Ok(Box::new(stream))
    }

    async fn resolve(&self, host_port: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(addr) = host_port.parse() {
            return Ok(vec![addr]);
        }
        Ok(tokio::net::lookup_host(host_port).await?.collect())
    }
}

struct SystemListener(tokio::net::TcpListener);

#[async_trait]
impl Listener for SystemListener {
    async fn accept(&mut self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        // Answers are small and latency matters more than packet counts.
        let _ = stream.set_nodelay(true);
        Ok((Box::new(stream), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// The machine's files.
pub struct SystemFiles;

struct SystemLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl FileLock for SystemLock {}

impl Files for SystemFiles {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {limit} bytes"),
            ));
        }
        Ok(Some(bytes))
    }

    fn write_durable(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The new name is durable only when the directory is.
        File::open(directory)?.sync_all()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(SystemLock(file)))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The two ways in which a node comes to its end.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// Cancelled when the node is told to stop: from then on tasks may end.
    pub stopping: CancellationToken,
    /// Cancelled when a task has ended that the node cannot do without.
    pub fault: CancellationToken,
}

/// Spawns onto one tokio runtime.
#[derive(Clone)]
pub struct SystemSpawner {
    handle: tokio::runtime::Handle,
    ending: Ending,
}

impl SystemSpawner {
    /// Spawns onto `handle`.
    #[must_use]
    pub fn new(handle: tokio::runtime::Handle, ending: Ending) -> Self {
        Self { handle, ending }
    }
}

impl Spawner for SystemSpawner {
    fn spawn(&self, name: &'static str, on_exit: OnExit, task: Task) {
        let ending = self.ending.clone();
        let watched = async move {
            let panicked = AssertUnwindSafe(task).catch_unwind().await.is_err();
            if panicked {
                tracing::error!(task = name, "a task of the node panicked; please report this");
            }
            if on_exit == OnExit::StopNode && !ending.stopping.is_cancelled() {
                tracing::error!(task = name, "the node cannot go on without this task and stops");
                ending.fault.cancel();
            }
        };
        self.handle.spawn(watched);
    }
}

/// A thread with a runtime of its own, so that what runs elsewhere cannot starve it.
pub struct OwnThread {
    handle: tokio::runtime::Handle,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl OwnThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system gives no thread or no event queue.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let until = stop.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(until.cancelled()))?;
        Ok(Self { handle, stop, thread: Some(thread) })
    }

    /// Spawns onto this thread.
    #[must_use]
    pub fn handle(&self) -> tokio::runtime::Handle {
        self.handle.clone()
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic on that thread was reported where it happened.
            let _ = thread.join();
        }
    }
}
