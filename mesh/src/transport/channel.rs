//! A channel: one QUIC stream in both directions, carrying frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

use super::links::Link;
use crate::wire::{self, Frame, HEADER, VERSION, WireError};

/// Why a channel cannot go on. The other side may have acted on everything sent before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The connection or the stream ended before its time.
    #[error("the connection to the other node was lost: {0}")]
    Lost(String),
    /// The other side sent what cannot be read.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Both directions of a channel.
#[derive(Debug)]
pub struct Channel {
    /// Towards the other node.
    pub writer: ChannelWriter,
    /// From the other node.
    pub reader: ChannelReader,
}

/// The sending half. Dropping it without [`ChannelWriter::finish`] resets the stream, so the other side
/// never takes a part for the whole.
#[derive(Debug)]
pub struct ChannelWriter {
    stream: quinn::SendStream,
    version: u8,
    finished: bool,
}

/// The receiving half. Dropping it tells the other side to stop sending.
#[derive(Debug)]
pub struct ChannelReader {
    stream: quinn::RecvStream,
    version: u8,
    limit: usize,
    /// As long as somebody waits for the other side, silence on the link is noticed.
    waits: Option<Waiting>,
}

/// The largest frame on a channel, in bytes of payload. Bodies travel as several frames.
pub const FRAME_LIMIT: usize = 256 * 1024;

/// Payloads up to this size are copied into one write; larger ones are written as they are.
const COPIED: usize = 4 * 1024;

/// Told to the other side when a stream is given up.
const ABANDONED: quinn::VarInt = quinn::VarInt::from_u32(1);

impl Channel {
    /// On a connection that is not a link yet.
    pub(crate) fn new(send: quinn::SendStream, recv: quinn::RecvStream) -> Self {
        Self {
            writer: ChannelWriter { stream: send, version: VERSION, finished: false },
            reader: ChannelReader { stream: recv, version: VERSION, limit: FRAME_LIMIT, waits: None },
        }
    }

    /// In frames of this version, and understanding no others.
    pub(crate) fn speaking(mut self, version: u8) -> Self {
        (self.writer.version, self.reader.version) = (version, version);
        self
    }

    pub(crate) fn on(link: &Link, send: quinn::SendStream, recv: quinn::RecvStream) -> Self {
        let mut channel = Self::new(send, recv);
        channel.reader.waits = Some(Waiting::begin(&link.waiting));
        channel
    }
}

/// Counts one channel on a link.
#[derive(Debug)]
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ChannelWriter {
    /// Sends one frame; returns when the stream has taken it, not when it has arrived.
    ///
    /// # Errors
    /// [`ChannelError::Lost`].
    pub async fn send(&mut self, kind: u8, payload: &[u8]) -> Result<(), ChannelError> {
        self.send_all(&[(kind, payload)]).await
    }

    /// Sends several frames, small ones in one write: one packet, and one wake-up on the other side.
    ///
    /// # Errors
    /// [`ChannelError::Lost`].
    pub async fn send_all(&mut self, frames: &[(u8, &[u8])]) -> Result<(), ChannelError> {
        let mut small = BytesMut::new();
        for (kind, payload) in frames {
            small.extend_from_slice(&wire::header_of(self.version, *kind, payload.len()));
            if payload.len() <= COPIED {
                small.extend_from_slice(payload);
                continue;
            }
            self.stream.write_all(&small.split()).await.map_err(lost)?;
            self.stream.write_all(payload).await.map_err(lost)?;
        }
        self.stream.write_all(&small).await.map_err(lost)
    }

    /// Sends a body as frames of `kind`, none when it is empty.
    ///
    /// # Errors
    /// [`ChannelError::Lost`].
    pub async fn send_body(&mut self, kind: u8, body: &Bytes) -> Result<(), ChannelError> {
        for part in body.chunks(FRAME_LIMIT) {
            self.send(kind, part).await?;
        }
        Ok(())
    }

    /// Ends this direction: the other side sees the end after the last frame.
    pub fn finish(&mut self) {
        self.finished = true;
        // An error means that it is closed already.
        let _ = self.stream.finish();
    }

    /// Resolves when the other side no longer reads, or the connection is gone.
    pub async fn stopped(&mut self) {
        let _ = self.stream.stopped().await;
    }
}

impl Drop for ChannelWriter {
    fn drop(&mut self) {
        if !self.finished {
            // An error means that it is closed already.
            let _ = self.stream.reset(ABANDONED);
        }
    }
}

impl ChannelReader {
    /// The next frame, `None` at the end. Not cancel-safe: once given up, the channel is of no use.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn next(&mut self) -> Result<Option<Frame>, ChannelError> {
        let mut header = [0_u8; HEADER];
        match self.stream.read_exact(&mut header).await {
            Ok(()) => {}
            Err(quinn::ReadExactError::FinishedEarly(0)) => return Ok(None),
            Err(quinn::ReadExactError::FinishedEarly(_)) => return Err(WireError::Short.into()),
            Err(quinn::ReadExactError::ReadError(error)) => return Err(lost(error)),
        }
        let (kind, length) = wire::parse_header_of(self.version, &header, self.limit)?;
        let mut payload = BytesMut::zeroed(length);
        self.stream.read_exact(&mut payload).await.map_err(|error| match error {
            quinn::ReadExactError::FinishedEarly(_) => WireError::Short.into(),
            quinn::ReadExactError::ReadError(error) => lost(error),
        })?;
        Ok(Some(Frame { kind, payload: payload.freeze() }))
    }
}

fn lost(error: impl std::fmt::Display) -> ChannelError {
    ChannelError::Lost(error.to_string())
}
