//! Serves one link: takes its datagrams and streams until it closes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::channel::{Channel, ChannelError};
use super::links::Link;
use super::quic;
use super::refusals::Topic;
use super::{CLOSE_GOODBYE, LinkEvent, Transport};
use crate::env::OnExit;
use crate::wire::message::{FactsUpdate, Goodbye, Open, kind};
use crate::wire::{self, HEADER, WireError, from_payload, probe};

/// The largest message outside of channels: chitchat fills at most one UDP datagram.
const MESSAGE_LIMIT: usize = 66 * 1024;

/// A stream whose first frame has not come by then is given up.
const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(5);

/// Serves `link` until it closes, then reports that.
pub(super) async fn serve(transport: Arc<Transport>, link: Arc<Link>) {
    let mut channels = quic::FIRST_CHANNELS;
    let goodbye = loop {
        let connection = &link.connection;
        tokio::select! {
            datagram = connection.read_datagram() => match datagram {
                Ok(bytes) => {
                    if take_message(&transport, &link, &bytes).await {
                        break true;
                    }
                }
                Err(error) => break is_goodbye(&error),
            },
            stream = connection.accept_bi() => match stream {
                Ok((send, recv)) => {
                    let opening = take_channel(transport.clone(), link.clone(), Channel::on(&link, send, recv));
                    transport.spawner.spawn("mesh channel", OnExit::Fine, Box::pin(opening));
                    let wanted = quic::channels_for(link.waiting.load(Ordering::Relaxed), channels);
                    if wanted != channels {
                        channels = wanted;
                        connection.set_max_concurrent_bi_streams(channels.into());
                    }
                }
                Err(error) => break is_goodbye(&error),
            },
            stream = connection.accept_uni() => match stream {
                Ok(recv) => {
                    let reading = take_stream(transport.clone(), link.clone(), recv);
                    transport.spawner.spawn("mesh message", OnExit::Fine, Box::pin(reading));
                }
                Err(error) => break is_goodbye(&error),
            },
        }
    };
    let removed = transport.links.lock().remove(&link);
    let last = removed.unwrap_or(false);
    // A link that another one has replaced speaks for nobody: its process may have made way for another one.
    let goodbye = goodbye && removed.is_some();
    // Nobody had anything to say there for minutes: no reason to look, and none to dial again.
    let was_idle = matches!(link.connection.close_reason(), Some(quinn::ConnectionError::TimedOut));
    if (last && !was_idle) || goodbye {
        let down = LinkEvent::Down { node: link.node.clone(), generation: link.generation, goodbye };
        let _ = transport.events.send(down).await;
    }
}

fn is_goodbye(error: &quinn::ConnectionError) -> bool {
    matches!(error, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == CLOSE_GOODBYE)
}

/// Takes one message. Answers whether it was a goodbye. A message that cannot be read is dropped: its
/// sender is a member, so it is a newer version or a bug, and neither is a reason to lose the link.
async fn take_message(transport: &Arc<Transport>, link: &Arc<Link>, bytes: &Bytes) -> bool {
    match read_message(transport, link, bytes).await {
        Ok(goodbye) => goodbye,
        Err(error) => {
            transport.refusals.tell(link.addr, Topic::Message, &format!("a message was dropped: {error}"));
            false
        }
    }
}

async fn read_message(
    transport: &Arc<Transport>,
    link: &Arc<Link>,
    bytes: &Bytes,
) -> Result<bool, WireError> {
    let frame = wire::decode(bytes, MESSAGE_LIMIT)?;
    match frame.kind {
        // A full queue drops: gossip repeats itself.
        kind::GOSSIP => {
            let taken = transport.gossip.try_send((link.addr, frame.payload));
            transport.outboxes.count_if_dropped(taken.is_err());
        }
        kind::NOTICE => transport.inbox.on_notice(link.node.clone(), frame.payload),
        kind::FACTS => {
            let update: FactsUpdate = from_payload(frame.kind, &frame.payload)?;
            // What a member says about itself directly is bound to its link, hence to its certificate.
            if !update.facts.is_within_limits() {
                let reason = "what it says about itself is over the limits";
                transport.refusals.tell(link.addr, Topic::Facts, reason);
            } else if update.generation == link.generation {
                let (node, generation) = (link.node.clone(), link.generation);
                let _ =
                    transport.events.send(LinkEvent::Facts { node, generation, facts: update.facts }).await;
            }
        }
        kind::PROBE => {
            let packet = probe::decode(&frame.payload)?;
            let (node, generation) = (link.node.clone(), link.generation);
            // A full queue drops: a lost ping is asked again, and whoever is that far behind is slow.
            let taken = transport.events.try_send(LinkEvent::Probe { node, generation, packet });
            transport.outboxes.count_if_dropped(taken.is_err());
        }
        kind::GOODBYE => {
            let goodbye: Goodbye = from_payload(frame.kind, &frame.payload)?;
            return Ok(goodbye.generation == link.generation);
        }
        // A kind of a later version.
        _ => {}
    }
    Ok(false)
}

async fn take_stream(transport: Arc<Transport>, link: Arc<Link>, mut stream: quinn::RecvStream) {
    let reading = tokio::time::timeout(FIRST_FRAME_WITHIN, stream.read_to_end(HEADER + MESSAGE_LIMIT));
    let lost = match reading.await {
        Ok(Ok(bytes)) => {
            take_message(&transport, &link, &Bytes::from(bytes)).await;
            return;
        }
        Ok(Err(quinn::ReadToEndError::Read(_))) => return,
        Ok(Err(quinn::ReadToEndError::TooLong)) => "a message is too long",
        Err(_) => "a message has not come to its end in time",
    };
    transport.refusals.tell(link.addr, Topic::Message, lost);
}

async fn take_channel(transport: Arc<Transport>, link: Arc<Link>, mut channel: Channel) {
    let first = tokio::time::timeout(FIRST_FRAME_WITHIN, async {
        let frame = channel.reader.next().await?.ok_or(WireError::Short)?;
        if frame.kind != kind::OPEN {
            return Err(ChannelError::from(WireError::Malformed(frame.kind)));
        }
        Ok(from_payload::<Open>(frame.kind, &frame.payload)?)
    });
    match first.await {
        Ok(Ok(open)) => {
            transport.inbox.on_channel(link.node.clone(), open.service, open.header.into(), channel)
        }
        // Whoever opened it has given up: what is not said is not unreadable.
        Ok(Err(ChannelError::Lost(_))) => {}
        Ok(Err(error)) => {
            transport.refusals.tell(link.addr, Topic::Message, &format!("a channel was not opened: {error}"));
        }
        Err(_) => transport.refusals.tell(link.addr, Topic::Message, "a channel says nothing"),
    }
}
