//! How QUIC is set up: timeouts, windows, limits, and keys that let peers recognise a restarted process.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::tls::Credentials;
use crate::env::Env;

/// A link that nobody used for so long is closed. Links have no keep-alive, which would cost each node a packet
/// per peer and period: the detector finds deaths ([`crate::detector`]), and what is said into silence is
/// noticed by [`super::silence`]. In the largest mesh a member's turn to be probed comes every six minutes, with the
/// preset `wan` every eleven: were links closed before, each probe there would cost a handshake, which is fifty times
/// as much.
const IDLE: Duration = Duration::from_secs(600);

/// quinn's own guess of 333 ms would make dialling a dead port take three seconds.
const INITIAL_RTT: Duration = Duration::from_millis(50);

/// Channels that one peer may have open at once, at first and at most. quinn makes a place for each in advance, some
/// 100 bytes: with the most from the start a link cost 280 KB (measured), a mesh of two hundred 57 MB a node.
pub(super) const FIRST_CHANNELS: u32 = 32;
pub(super) const MOST_CHANNELS: u32 = 1_024;

/// What a peer may have open once `open` channels are, where it may have `may` now: more well before it has to wait.
pub(super) fn channels_for(open: usize, may: u32) -> u32 {
    let is_near = open * 2 >= may as usize;
    if is_near { (may * 4).min(MOST_CHANNELS) } else { may }
}

/// Messages on streams of their own that one peer may have under way at once.
const MESSAGES: u32 = 64;

/// Bytes in flight per stream and per connection: enough for 1 Gbit/s at 10 ms.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const DATAGRAM_BUFFER: usize = 1024 * 1024;

/// The endpoint, what it answers with, and what it dials with.
pub(super) fn configs(
    env: &Env,
    credentials: &Credentials,
) -> io::Result<(quinn::EndpointConfig, quinn::ServerConfig, quinn::ClientConfig)> {
    let transport = Arc::new(transport_config());
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &credentials.reset_key);
    let mut endpoint = quinn::EndpointConfig::new(Arc::new(reset_key));
    // Ids and resets that a restarted process can recognise: its peers learn of the restart from the
    // first packet instead of from silence (measured: 65 to 85 ms instead of the idle timeout).
    let id_key = credentials.connection_id_key;
    endpoint.cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(id_key)));
    let mut seed = [0; 32];
    env.entropy.fill(&mut seed);
    endpoint.rng_seed(Some(seed));

    let quic = |error: quinn_proto::crypto::rustls::NoInitialCipherSuite| io::Error::other(error.to_string());
    let server_crypto =
        quinn_proto::crypto::rustls::QuicServerConfig::try_from(credentials.server.clone()).map_err(quic)?;
    let client_crypto =
        quinn_proto::crypto::rustls::QuicClientConfig::try_from(credentials.client.clone()).map_err(quic)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(server_crypto));
    server.transport_config(transport.clone()).migration(false).max_incoming(256);
    let mut client = quinn::ClientConfig::new(Arc::new(client_crypto));
    client.transport_config(transport);
    Ok((endpoint, server, client))
}

fn transport_config() -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    config
        .initial_rtt(INITIAL_RTT)
        .max_idle_timeout(Some(IDLE.try_into().expect("minutes fit")))
        .max_concurrent_bidi_streams(FIRST_CHANNELS.into())
        .max_concurrent_uni_streams(MESSAGES.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(u64::from(CONNECTION_WINDOW))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER);
    config
}

/// What TLS had against the other side, said by either. QUIC carries the alerts (RFC 8446, 6) in error codes 0x100
/// to 0x1ff (RFC 9001, 4.8).
pub(super) fn tls_alert(error: &quinn::ConnectionError) -> Option<u8> {
    let code = match error {
        quinn::ConnectionError::TransportError(here) => here.code,
        quinn::ConnectionError::ConnectionClosed(there) => there.error_code,
        _ => return None,
    };
    u8::try_from(u64::from(code).checked_sub(0x100)?).ok()
}

/// What an operator looks at first after such an alert.
pub(super) fn likely_cause(alert: u8) -> &'static str {
    match alert {
        // certificate_expired, also of what is not valid yet: nodes make certificates for two thousand years.
        45 => "a clock that is far off, or forged papers?",
        // no_application_protocol
        120 => "another release, or no node at all?",
        _ => "another secret?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_opens_channels_has_places_for_more_before_they_are_used_up() {
        assert_eq!(channels_for(FIRST_CHANNELS as usize / 2 - 1, FIRST_CHANNELS), FIRST_CHANNELS);
        let (mut may, mut steps) = (FIRST_CHANNELS, Vec::new());
        for open in 0..2 * MOST_CHANNELS as usize {
            let wanted = channels_for(open, may);
            assert!(open <= wanted as usize || wanted == MOST_CHANNELS);
            if wanted != may {
                steps.push(wanted);
            }
            may = wanted;
        }
        assert_eq!(steps, [128, 512, MOST_CHANNELS]);
    }
}
