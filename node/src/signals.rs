//! What asks a process to stop: SIGTERM, Ctrl-C, and the end of its terminal.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Requests to stop.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` when whoever started the process asked that it outlive its terminal.
    hang_up: Option<Signal>,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        let hang_up = if is_ignored(libc::SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
        })
    }

    /// Waits for the next request.
    pub(crate) async fn asked(&mut self) {
        let hung_up = async {
            match &mut self.hang_up {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hung_up => {}
        }
    }
}

/// Whether the process was started with this signal ignored, as `nohup` does.
fn is_ignored(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    #[expect(unsafe_code, reason = "there is no safe wrapper in the standard library")]
    // SAFETY: a plain system call that changes nothing and writes only where it is told to; all zeroes is a
    // valid `sigaction`, should it fail.
    let now = unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr());
        now.assume_init()
    };
    now.sa_sigaction == libc::SIG_IGN
}
