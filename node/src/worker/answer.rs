//! From an execution to its answer: buffered at first, so that an early failure can still be told as a
//! problem, streamed after that.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::{self, BoxStream};
use tokio::sync::mpsc;

use super::runtime::{Ended, Execution, Functions};
use super::slots::Slot;
use crate::problem::Problem;

/// How much of an answer is held back. A function that fails before it has written more is answered with
/// a problem object; after that the stream is broken off.
pub const HELD_BACK: usize = 64 * 1024;

/// Chunks between the function and whoever reads its answer: enough to keep both busy, little to hold.
const CHUNKS: usize = 4;

/// What a function answered.
pub enum Answer {
    /// All of it.
    Whole {
        /// Guessed from its bytes.
        content_type: &'static str,
        /// At most [`HELD_BACK`] bytes.
        body: Bytes,
    },
    /// More than was held back; an error item means that the function failed after all.
    Streamed {
        /// Guessed from the first bytes.
        content_type: &'static str,
        /// In order. Dropping it stops the function.
        body: BoxStream<'static, Result<Bytes, Problem>>,
    },
}

/// An execution in progress. Dropping it kills what it started.
pub struct Running {
    function: String,
    execution: Pin<Box<dyn Future<Output = Ended> + Send>>,
    output: mpsc::Receiver<Bytes>,
    ended: Option<Ended>,
    /// Given back when the execution is over.
    _slot: Slot,
}

impl Running {
    /// Starts an execution that holds `slot` while it runs.
    pub fn start(functions: std::sync::Arc<dyn Functions>, execution: Execution, slot: Slot) -> Self {
        let (sender, output) = mpsc::channel(CHUNKS);
        let function = execution.function.to_string();
        let execution = Box::pin(async move { functions.run(execution, sender).await });
        Self { function, execution, output, ended: None, _slot: slot }
    }

    /// The next piece of output, `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        while self.ended.is_none() {
            tokio::select! {
                biased;
                chunk = self.output.recv() => match chunk {
                    Some(chunk) => return Some(chunk),
                    // It writes no more, but it has not ended.
                    None => self.ended = Some((&mut self.execution).await),
                },
                ended = &mut self.execution => self.ended = Some(ended),
            }
        }
        // It has ended: what it wrote before waits in the channel.
        self.output.recv().await
    }

    /// The end, once there is no further output.
    fn verdict(&self) -> Result<(), Problem> {
        let ended = self.ended.as_ref().expect("asked only after the output has ended");
        match &ended.result {
            Ok(()) => Ok(()),
            Err(failure) => Err(Problem::of_failure(&self.function, failure, &ended.stderr_tail)),
        }
    }

    /// Runs to the end with all output in memory; the execution's output limit bounds it. Answers the
    /// end of stderr as well.
    pub async fn to_end(mut self) -> (Result<(Bytes, &'static str), Problem>, String) {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.next().await {
            body.extend_from_slice(&chunk);
        }
        let verdict = self.verdict();
        let stderr_tail = self.ended.map(|ended| ended.stderr_tail).unwrap_or_default();
        let body = body.freeze();
        let content_type = content_type(&body, true);
        (verdict.map(|()| (body, content_type)), stderr_tail)
    }

    /// Runs until it is clear how to answer.
    ///
    /// # Errors
    /// The function's failure, if it came before [`HELD_BACK`] bytes were written.
    pub async fn answer(mut self) -> Result<Answer, Problem> {
        let mut held = BytesMut::new();
        while let Some(chunk) = self.next().await {
            held.extend_from_slice(&chunk);
            if held.len() > HELD_BACK {
                let content_type = content_type(&held, false);
                let first = stream::once(std::future::ready(Ok(held.freeze())));
                let body = Box::pin(futures_util::StreamExt::chain(first, self.rest()));
                return Ok(Answer::Streamed { content_type, body });
            }
        }
        self.verdict()?;
        let body = held.freeze();
        Ok(Answer::Whole { content_type: content_type(&body, true), body })
    }

    fn rest(self) -> impl Stream<Item = Result<Bytes, Problem>> {
        stream::unfold(Some(self), |running| async {
            let mut running = running?;
            match running.next().await {
                Some(chunk) => Some((Ok(chunk), Some(running))),
                None => running.verdict().err().map(|problem| (Err(problem), None)),
            }
        })
    }
}

/// A media type for output that has none: JSON objects and arrays, text, anything else.
fn content_type(body: &[u8], complete: bool) -> &'static str {
    let looks_like_json = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
    if complete && looks_like_json && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        return "application/json";
    }
    match std::str::from_utf8(body) {
        Ok(_) => "text/plain; charset=utf-8",
        // A character cut in two at the end of what is known so far is still text.
        Err(error) if !complete && error.error_len().is_none() => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    }
}

/// The media types that answers have; other nodes send them as text.
#[must_use]
pub fn known_content_type(text: &str) -> &'static str {
    ["application/json", "text/plain; charset=utf-8"]
        .into_iter()
        .find(|known| *known == text)
        .unwrap_or("application/octet-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_labelled_by_what_it_looks_like() {
        for (body, complete, expected) in [
            (&b"{\"a\":1}\n"[..], true, "application/json"),
            (b" [1]", true, "application/json"),
            (b"{not json", true, "text/plain; charset=utf-8"),
            (b"{\"a\":", false, "text/plain; charset=utf-8"),
            (b"42", true, "text/plain; charset=utf-8"),
            (b"", true, "text/plain; charset=utf-8"),
            (b"caf\xC3", false, "text/plain; charset=utf-8"),
            (b"caf\xC3", true, "application/octet-stream"),
            (b"\xFF\x00", false, "application/octet-stream"),
        ] {
            assert_eq!(content_type(body, complete), expected, "{body:?}");
        }
    }
}
