//! The worker's side of a call from another node.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::transport::channel::{Channel, ChannelError, ChannelReader, ChannelWriter, FRAME_LIMIT};
use beatmesh_mesh::wire::{WireError, from_payload, to_payload};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use uuid::Uuid;

use super::wire::{CallHeader, Head, No, kind};
use crate::problem::Problem;
use crate::queue::task::TaskId;
use crate::worker::answer::Answer;
use crate::worker::answer::HELD_BACK;
use crate::worker::{Admitted, Call, NotAdmitted, Worker};

/// A router that accepted a slot and then sends nothing gives it back after this time.
const INPUT_WITHIN: Duration = Duration::from_secs(30);

const _: () = assert!(HELD_BACK <= FRAME_LIMIT);

/// The end of an answer has arrived by then, or the link is as good as lost.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);

/// No call holds a place in the line for longer, whatever its header says.
const LONGEST_PATIENCE_MS: u64 = 60_000;

/// Takes one call, runs it, sends the answer. Every way out before GO has run nothing.
/// `routed_by` is told the fingerprint of the router's ring.
pub async fn serve_call(
    worker: Arc<Worker>,
    header: Bytes,
    input_limit: u64,
    channel: Channel,
    routed_by: impl FnOnce(u64),
) {
    let Channel { mut writer, mut reader } = channel;
    let header = from_payload(kind::ACCEPTED, &header).map_err(|_| No::Malformed);
    let header = header.inspect(|header: &CallHeader| routed_by(header.ring_fingerprint));
    match serve(&worker, header, input_limit, &mut writer, &mut reader).await {
        // A node that stops closes its links as soon as the last call is over: over means arrived.
        Ok(()) => drop(tokio::time::timeout(ARRIVES_WITHIN, writer.stopped()).await),
        // The router has gone, or its node has: nobody is left to tell.
        Err(error) => tracing::debug!(%error, "a call from another node ended early"),
    }
}

async fn serve(
    worker: &Worker,
    header: Result<CallHeader, No>,
    input_limit: u64,
    writer: &mut ChannelWriter,
    reader: &mut ChannelReader,
) -> Result<(), ChannelError> {
    let (header, admitted) = match admit(worker, header, input_limit, writer).await {
        Ok(admitted) => admitted,
        Err(no) => {
            writer.send(kind::NO, &to_payload(&no)).await?;
            writer.finish();
            return Ok(());
        }
    };
    writer.send(kind::ACCEPTED, &[]).await?;
    let reading = tokio::time::timeout(INPUT_WITHIN, read_input(reader, header.input_length));
    let input =
        reading.await.map_err(|_| ChannelError::Lost("the input did not come in time".to_owned()))??;
    let call = Call {
        id: TaskId(Uuid::from_bytes(header.id)),
        input,
        content_type: header.content_type,
        timeout: (header.timeout_ms > 0).then(|| Duration::from_millis(header.timeout_ms)),
    };
    // The router that goes away drops its half: the function is stopped, its slot is free again.
    tokio::select! {
        answered = answer(worker, admitted, call, writer) => answered,
        gone = reader.next() => match gone {
            Ok(_) => Err(ChannelError::Lost("the router said something after GO".to_owned())),
            Err(error) => Err(error),
        },
    }
}

async fn admit(
    worker: &Worker,
    header: Result<CallHeader, No>,
    input_limit: u64,
    writer: &mut ChannelWriter,
) -> Result<(CallHeader, Admitted), No> {
    let header = header?;
    let function = header.function.parse().map_err(|_| No::Malformed)?;
    if header.input_length > input_limit {
        return Err(No::TooLarge);
    }
    let patience = Duration::from_millis(header.patience_ms.min(LONGEST_PATIENCE_MS));
    let admitting = worker.admit(&function, header.catalogue_revision, patience);
    tokio::select! {
        admitted = admitting => match admitted {
            Ok(admitted) => Ok((header, admitted)),
            Err(NotAdmitted::NoSuchFunction) => Err(No::NoSuchFunction),
            Err(NotAdmitted::Busy) => Err(No::Busy),
            Err(NotAdmitted::Stopping) => Err(No::Stopping),
            Err(NotAdmitted::CannotTell) => Err(No::CannotTell),
        },
        // The router looks elsewhere: its place in the line is free.
        () = writer.stopped() => Err(No::Busy),
    }
}

/// Reads the input until GO.
async fn read_input(reader: &mut ChannelReader, length: u64) -> Result<Bytes, ChannelError> {
    let mut input = BytesMut::new();
    loop {
        let frame = reader.next().await?.ok_or(WireError::Short)?;
        match frame.kind {
            kind::BODY if (input.len() + frame.payload.len()) as u64 <= length => {
                input.extend_from_slice(&frame.payload);
            }
            kind::GO if input.len() as u64 == length => return Ok(input.freeze()),
            other => return Err(WireError::Malformed(other).into()),
        }
    }
}

async fn answer(
    worker: &Worker,
    admitted: Admitted,
    call: Call,
    writer: &mut ChannelWriter,
) -> Result<(), ChannelError> {
    match worker.run(admitted, call).await {
        Ok(Answer::Whole { content_type, body }) => {
            let head = Head { content_type: content_type.to_owned(), length: Some(body.len() as u64) };
            // At most HELD_BACK bytes, so it fits in one frame.
            writer
                .send_all(&[(kind::HEAD, &to_payload(&head)), (kind::BODY, &body), (kind::END, &[])])
                .await?;
            writer.finish();
            return Ok(());
        }
        Ok(Answer::Streamed { content_type, mut body }) => {
            let head = Head { content_type: content_type.to_owned(), length: None };
            writer.send(kind::HEAD, &to_payload(&head)).await?;
            while let Some(chunk) = body.next().await {
                match chunk {
                    Ok(chunk) => writer.send_body(kind::BODY, &chunk).await?,
                    Err(problem) => return fail(writer, &problem).await,
                }
            }
        }
        Err(problem) => return fail(writer, &problem).await,
    }
    writer.send(kind::END, &[]).await?;
    writer.finish();
    Ok(())
}

async fn fail(writer: &mut ChannelWriter, problem: &Problem) -> Result<(), ChannelError> {
    let bytes = serde_json::to_vec(problem).expect("a problem holds only texts, numbers and JSON");
    writer.send(kind::FAILED, &bytes).await?;
    writer.finish();
    Ok(())
}
