//! Bytes to and from a running program. Everything here is polled inside the execution's own future and
//! may be dropped at any await without losing a byte.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use bytes::{Bytes, BytesMut};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::super::{Failure, STDERR_TAIL};
use super::sys;

/// The first read of an execution; most answers are smaller.
const SMALLEST_READ: usize = 4 * 1024;

/// A pipe's usual capacity: larger reads would not return more.
const LARGEST_READ: usize = 64 * 1024;

pub(super) fn lost(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Lost(format!("{what}: {error}"))
}

fn nobody_listens() -> Failure {
    Failure::Lost("nobody waits for its output any more; it was killed".to_owned())
}

/// Completes when nobody listens to the output any more.
pub(super) async fn deserted(output: &mpsc::Sender<Bytes>) -> Failure {
    output.closed().await;
    nobody_listens()
}

/// Writes the whole input to the program and closes its stdin. A program that does not read it all is
/// within its rights: a broken pipe ends the feeding quietly.
pub(super) async fn feed(stdin: OwnedFd, input: Bytes) -> io::Result<()> {
    // Small inputs fit into the empty pipe: one write, and the pipe never meets the poller.
    let mut stdin = File::from(stdin);
    sys::set_nonblocking(&stdin)?;
    let mut rest = &input[..];
    while !rest.is_empty() {
        match stdin.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return forgive_broken_pipe(error),
        }
    }
    if rest.is_empty() {
        return Ok(());
    }
    let stdin = pipe::Sender::from_owned_fd(stdin.into())?;
    while !rest.is_empty() {
        stdin.writable().await?;
        match stdin.try_write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return forgive_broken_pipe(error),
        }
    }
    Ok(())
}

fn forgive_broken_pipe(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// Passes stdout on, in order, at the pace of whoever receives it, up to a limit.
pub(super) struct Stdout<'a> {
    pipe: pipe::Receiver,
    output: &'a mpsc::Sender<Bytes>,
    limit: u64,
    left: u64,
    buffer: BytesMut,
    read_size: usize,
    closed: bool,
}

impl<'a> Stdout<'a> {
    pub(super) fn new(fd: OwnedFd, output: &'a mpsc::Sender<Bytes>, limit: u64) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(fd)?;
        let buffer = BytesMut::new();
        Ok(Self { pipe, output, limit, left: limit, buffer, read_size: SMALLEST_READ, closed: false })
    }

    /// Passes on what comes until the program closes its stdout.
    pub(super) async fn pass_on(&mut self) -> Result<(), Failure> {
        while !self.closed {
            // Room first, bytes second: what has left the pipe cannot be lost when this is dropped.
            let room = self.output.reserve().await.map_err(|_| nobody_listens())?;
            let count = loop {
                self.pipe.readable().await.map_err(lost("its stdout cannot be read"))?;
                self.buffer.reserve(self.read_size);
                match self.pipe.try_read_buf(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => break result.map_err(lost("its stdout cannot be read"))?,
                }
            };
            self.closed = count == 0;
            self.left = within(self.left, count, self.limit)?;
            if count >= self.read_size {
                self.read_size = (self.read_size * 2).min(LARGEST_READ);
            }
            if count > 0 {
                room.send(self.buffer.split().freeze());
            }
        }
        Ok(())
    }

    /// After the program's end: passes on what it left in the pipe and no more, because an escaped
    /// descendant may hold the pipe open, or fill it, for ever.
    pub(super) async fn pass_on_rest(mut self) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let fd = self.pipe.into_nonblocking_fd().map_err(lost("its stdout cannot be read"))?;
        let mut waiting = sys::bytes_waiting(&fd).map_err(lost("its stdout cannot be read"))?;
        let mut pipe = File::from(fd);
        while waiting > 0 {
            let room = self.output.reserve().await.map_err(|_| nobody_listens())?;
            let mut chunk = vec![0; waiting.min(LARGEST_READ)];
            let count = read_now(&mut pipe, &mut chunk).map_err(lost("its stdout cannot be read"))?;
            if count == 0 {
                break;
            }
            self.left = within(self.left, count, self.limit)?;
            waiting = waiting.saturating_sub(count);
            chunk.truncate(count);
            room.send(chunk.into());
        }
        Ok(())
    }
}

fn within(left: u64, count: usize, limit: u64) -> Result<u64, Failure> {
    left.checked_sub(count as u64).ok_or(Failure::OutputTooLarge(limit))
}

/// Bytes that are there; 0 at the end and when there are none.
fn read_now(pipe: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    match pipe.read(buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// Drains stderr, so that the program never waits for it, and keeps the end.
pub(super) struct Stderr {
    pipe: pipe::Receiver,
    tail: Tail,
    closed: bool,
}

impl Stderr {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { pipe: pipe::Receiver::from_owned_fd(fd)?, tail: Tail::default(), closed: false })
    }

    /// Reads what comes until the program closes its stderr.
    pub(super) async fn listen(&mut self) -> io::Result<()> {
        let mut buffer = Vec::new();
        while !self.closed {
            self.pipe.readable().await?;
            buffer.resize(2 * STDERR_TAIL, 0);
            match self.pipe.try_read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(count) => self.tail.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// After the program's end: the tail, with what still lies in the pipe.
    pub(super) fn into_tail(mut self) -> String {
        if !self.closed
            && let Ok(fd) = self.pipe.into_nonblocking_fd()
        {
            let mut waiting = sys::bytes_waiting(&fd).unwrap_or(0);
            let mut pipe = File::from(fd);
            let mut buffer = vec![0; waiting.min(LARGEST_READ)];
            while waiting > 0
                && let Ok(count @ 1..) = read_now(&mut pipe, &mut buffer)
            {
                self.tail.push(&buffer[..count]);
                waiting = waiting.saturating_sub(count);
            }
        }
        self.tail.into_text()
    }
}

/// The last [`STDERR_TAIL`] bytes of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(STDERR_TAIL)..]);
        // Shortened in strides, so that a chatty program does not move 4 KiB per line.
        if self.0.len() > 3 * STDERR_TAIL {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        self.0.drain(..self.0.len().saturating_sub(STDERR_TAIL));
    }

    fn into_text(mut self) -> String {
        self.shorten();
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_whatever_the_pieces() {
        let whole: Vec<u8> = (0..100_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
        for piece in [1, 7, STDERR_TAIL, STDERR_TAIL + 1, 3 * STDERR_TAIL, 100_000] {
            let mut tail = Tail::default();
            for bytes in whole.chunks(piece) {
                tail.push(bytes);
                assert!(tail.0.len() <= 4 * STDERR_TAIL);
            }
            assert_eq!(tail.into_text().as_bytes(), &whole[whole.len() - STDERR_TAIL..], "{piece}");
        }
    }

    #[test]
    fn a_tail_with_invalid_utf8_is_still_text() {
        let mut tail = Tail::default();
        tail.push(b"before \xff after");
        assert_eq!(tail.into_text(), "before \u{fffd} after");
    }
}
