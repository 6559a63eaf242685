//! The calling side of a call to another node.

use std::time::Duration;

use beatmesh_mesh::Mesh;
use beatmesh_mesh::env::Clock;
use beatmesh_mesh::id::NodeId;
use beatmesh_mesh::transport::channel::{Channel, ChannelError, ChannelReader, ChannelWriter, FRAME_LIMIT};
use beatmesh_mesh::wire::{from_payload, to_payload};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use tokio::time::Instant;

use super::wire::{CALL_SERVICE, CallHeader, Head, No, kind};
use super::{Request, whole_millis};
use crate::problem::Problem;
use crate::worker::answer::{Answer, HELD_BACK, known_content_type};

/// A worker did not take a call: nothing runs there, and nothing will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declined {
    /// It does not know the function.
    NoSuchFunction,
    /// No slot was free in time.
    Busy,
    /// It is stopping.
    Stopping,
    /// It has no catalogue to look the function up in.
    CannotTell,
    /// The input is over its limit.
    TooLarge,
    /// It cannot be reached, or said nothing in time.
    NoAnswer(String),
}

/// On what terms a call is offered to another node.
pub struct Terms {
    /// The catalogue that this node knows.
    pub catalogue_revision: u64,
    /// How long the worker may let it wait for a slot.
    pub patience: Duration,
    /// How long, besides that, the worker may take to answer the offer.
    pub accept_within: Duration,
    /// The function must have ended by then.
    pub deadline: Instant,
}

/// After the deadline: the worker stops the function at its deadline and says so; a worker that says
/// nothing for so long after that has been lost in a way that its links do not show.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a call on another node.
///
/// # Errors
/// [`Declined`] when that node has not begun it. A problem inside `Ok` comes from the function, or says
/// that the answer was lost.
pub async fn remote_call(
    mesh: &Mesh,
    clock: &dyn Clock,
    node: &NodeId,
    request: &Request,
    terms: &Terms,
) -> Result<Result<Answer, Problem>, Declined> {
    let left = terms.deadline.saturating_duration_since(clock.now());
    let header = CallHeader {
        id: *request.id.0.as_bytes(),
        function: request.function.to_string(),
        catalogue_revision: terms.catalogue_revision,
        ring_fingerprint: mesh.view().ring.fingerprint(),
        content_type: request.content_type.clone(),
        input_length: request.input.len() as u64,
        timeout_ms: request.timeout.map_or(0, |_| whole_millis(left)),
        patience_ms: millis(terms.patience),
    };
    let accepting = accepted(mesh, node, &header);
    let channel = tokio::time::timeout(terms.accept_within + terms.patience, accepting)
        .await
        .unwrap_or_else(|_| Err(Declined::NoAnswer("it did not accept in time".to_owned())))?;
    let running = tokio::time::timeout_at(terms.deadline + GRACE, run(node, request, channel));
    Ok(running.await.unwrap_or_else(|_| Err(Problem::answer_lost(node, "it did not answer in time"))))
}

/// Opens the channel and waits until the worker holds a slot. Dropped in time, nothing happens there.
async fn accepted(mesh: &Mesh, node: &NodeId, header: &CallHeader) -> Result<Channel, Declined> {
    let no_answer = |error: &dyn std::fmt::Display| Declined::NoAnswer(error.to_string());
    let channel = mesh.open(node, CALL_SERVICE, &to_payload(header)).await;
    let mut channel = channel.map_err(|error| no_answer(&error))?;
    let frame = channel.reader.next().await.map_err(|error| no_answer(&error))?;
    let frame = frame.ok_or_else(|| Declined::NoAnswer("it closed the channel".to_owned()))?;
    match frame.kind {
        kind::ACCEPTED => Ok(channel),
        kind::NO => Err(match from_payload(frame.kind, &frame.payload) {
            Ok(No::NoSuchFunction) => Declined::NoSuchFunction,
            Ok(No::Busy) => Declined::Busy,
            Ok(No::Stopping) => Declined::Stopping,
            Ok(No::CannotTell) => Declined::CannotTell,
            Ok(No::TooLarge) => Declined::TooLarge,
            Ok(No::Malformed) | Err(_) => Declined::NoAnswer("it did not understand the call".to_owned()),
        }),
        other => Err(Declined::NoAnswer(format!("it answered with a frame of kind {other}"))),
    }
}

/// From here on the function may run: whatever is lost is unknown.
async fn run(node: &NodeId, request: &Request, channel: Channel) -> Result<Answer, Problem> {
    let Channel { mut writer, mut reader } = channel;
    let lost = |reason: &dyn std::fmt::Display| Problem::answer_lost(node, reason);
    send_input(&mut writer, &request.input).await.map_err(|error| lost(&error))?;
    let frame = reader.next().await.map_err(|error| lost(&error))?;
    let frame = frame.ok_or_else(|| lost(&"it closed the channel"))?;
    let head: Head = match frame.kind {
        kind::HEAD => from_payload(frame.kind, &frame.payload).map_err(|error| lost(&error))?,
        kind::FAILED => {
            return Err(problem(&frame.payload).unwrap_or_else(|| lost(&"its problem cannot be read")));
        }
        other => return Err(lost(&format!("a frame of kind {other}"))),
    };
    let content_type = known_content_type(&head.content_type);
    let short = head.length.is_some_and(|length| length <= HELD_BACK as u64);
    let mut body = AnswerBody { node: node.clone(), reader, _writer: writer };
    if !short {
        return Ok(Answer::Streamed { content_type, body: body.stream() });
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.next().await {
        whole.extend_from_slice(&chunk?);
    }
    Ok(Answer::Whole { content_type, body: whole.freeze() })
}

/// Sends the input and GO, a short input together with it.
async fn send_input(writer: &mut ChannelWriter, input: &Bytes) -> Result<(), ChannelError> {
    if input.len() > FRAME_LIMIT {
        writer.send_body(kind::BODY, input).await?;
        return writer.send(kind::GO, &[]).await;
    }
    writer.send_all(&[(kind::BODY, input), (kind::GO, &[])]).await
}

/// The rest of an answer. Keeps the writing half: dropping it resets the stream, which tells the worker
/// that nobody listens any more.
struct AnswerBody {
    node: NodeId,
    reader: ChannelReader,
    _writer: ChannelWriter,
}

impl AnswerBody {
    async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        let lost = |reason: &dyn std::fmt::Display| Some(Err(Problem::answer_lost(&self.node, reason)));
        match self.reader.next().await {
            Ok(Some(frame)) => match frame.kind {
                kind::BODY => Some(Ok(frame.payload)),
                kind::END => None,
                kind::FAILED => problem(&frame.payload)
                    .map_or_else(|| lost(&"its problem cannot be read"), |p| Some(Err(p))),
                other => lost(&format!("a frame of kind {other}")),
            },
            Ok(None) => lost(&"it closed the channel"),
            Err(error) => lost(&error),
        }
    }

    fn stream(self) -> BoxStream<'static, Result<Bytes, Problem>> {
        Box::pin(stream::unfold(Some(self), |body| async {
            let mut body = body?;
            let item = body.next().await?;
            let goes_on = item.is_ok();
            Some((item, goes_on.then_some(body)))
        }))
    }
}

fn problem(payload: &[u8]) -> Option<Problem> {
    serde_json::from_slice(payload).ok()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
