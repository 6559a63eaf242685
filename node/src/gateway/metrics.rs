//! `GET /metrics`: this node's part in the mesh for Prometheus, as OpenMetrics text.
//!
//! Each node has a registry of its own, for several run in one process in simulations. Everything is computed
//! when somebody scrapes; the number of lines does not grow with the mesh. The queue's store is asked one cheap question,
//! and not more often than every some seconds however many scrape.

mod queue;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use beatmesh_mesh::counters::Counters;
use beatmesh_mesh::member::Liveness;
use beatmesh_mesh::{Mesh, View};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::Gateway;
use super::changes::beat_of;
use crate::beat::tally::BeatTally;
use crate::catalogue::name::QueueName;
use crate::queue::QueueCounts;
use crate::queue::counted::QueueTally;
use crate::router::rings::OtherRings;

/// Prometheus asks for it by this name; older readers take it for the text format 0.0.4 with comments.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`.
pub(super) async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let tasks = tasks(&gateway).await;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], gateway.metrics.text(tasks)).into_response()
}

/// Counts that are not older than this are told again: several may scrape, and in SQL counting costs something.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// A store that hangs does not keep the other metrics from whoever asks.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How many tasks there are; `None` when the store does not say.
async fn tasks(gateway: &Gateway) -> Option<queue::Tasks> {
    let now = gateway.env.clock.now();
    let known = gateway.metrics.counts.lock().clone();
    let known = known.filter(|(read, _)| now.duration_since(*read) < COUNT_EVERY);
    let counts = match known {
        Some((_, counts)) => counts,
        None => {
            let counts = timeout(ANSWER_WITHIN, gateway.queue.queue_counts()).await.ok()?.ok()?;
            let counts = Arc::new(counts);
            *gateway.metrics.counts.lock() = Some((now, counts.clone()));
            counts
        }
    };
    let (now, aside) = (gateway.env.clock.wall(), gateway.queue.set_aside());
    Some(queue::Tasks { counts, now, aside })
}

/// Counts, and when they were read.
type Counts = Option<(Instant, Arc<BTreeMap<QueueName, QueueCounts>>)>;

/// The metrics of one node.
pub struct Metrics {
    registry: Registry,
    counts: Mutex<Counts>,
}

impl Metrics {
    /// Those of the mesh, of the rings by which other nodes route, of the queue and the Beat.
    #[must_use]
    pub fn new(
        mesh: Arc<Mesh>,
        rings: Arc<OtherRings>,
        queue: Arc<QueueTally>,
        beat: Arc<BeatTally>,
    ) -> Self {
        let mut metrics = Self::of(Membership { mesh, rings });
        metrics.registry.register_collector(Box::new(queue::Seen { queue, beat }));
        metrics
    }

    fn of(collector: impl Collector) -> Self {
        let mut registry = Registry::with_prefix("beatmesh");
        registry.register_collector(Box::new(collector));
        Self { registry, counts: Mutex::default() }
    }

    fn text(&self, tasks: Option<queue::Tasks>) -> String {
        let mut text = String::new();
        let mut of_store = Registry::with_prefix("beatmesh");
        if let Some(tasks) = tasks {
            of_store.register_collector(Box::new(tasks));
        }
        let written = text::encode_registry(&mut text, &self.registry)
            .and_then(|()| text::encode_registry(&mut text, &of_store))
            .and_then(|()| text::encode_eof(&mut text));
        written.expect("a text takes whatever is written to it");
        text
    }
}

/// Looks at the mesh when it is asked.
struct Membership {
    mesh: Arc<Mesh>,
    rings: Arc<OtherRings>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Membership")
    }
}

impl Collector for Membership {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let (view, counters) = (self.mesh.view(), self.mesh.counters());
        Figures::of(&view, counters, self.rings.calls()).encode(encoder)
    }
}

/// What is told about a node's part in the mesh.
#[derive(Debug)]
struct Figures {
    /// By liveness.
    members: [(&'static str, i64); 4],
    ring_members: i64,
    ring_frozen: bool,
    is_beat: bool,
    incarnation: i64,
    counters: Counters,
    calls_by_other_rings: u64,
}

impl Figures {
    fn of(view: &View, counters: Counters, calls_by_other_rings: u64) -> Self {
        let members = [Liveness::Alive, Liveness::Suspect, Liveness::Dead, Liveness::Left].map(|liveness| {
            let such = view.members.values().filter(|member| member.liveness == liveness);
            (liveness.as_str(), such.count() as i64)
        });
        Self {
            members,
            ring_members: view.ring.members().len() as i64,
            ring_frozen: view.is_frozen(),
            is_beat: beat_of(view).as_ref() == Some(&view.me),
            incarnation: i64::try_from(view.myself().incarnation.0).unwrap_or(i64::MAX),
            counters,
            calls_by_other_rings,
        }
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut lines = Lines(encoder);
        let Counters { detector, round_trips, outbox_drops, refusals, links, udp } = &self.counters;
        lines.gauges(
            "members",
            "Members that this node knows, itself included",
            "liveness",
            &self.members,
        )?;
        lines.gauge("ring_members", "Members that own keys", self.ring_members)?;
        lines.gauge(
            "ring_frozen",
            "1 while the ring is kept because more than half of it looked dead at once",
            i64::from(self.ring_frozen),
        )?;
        lines.gauge("is_beat", "1 when this node fires schedules, as it sees it", i64::from(self.is_beat))?;
        lines.gauge(
            "incarnation",
            "Refutations of this life of the node, own precautions included",
            self.incarnation,
        )?;
        lines.counter("probes", "Probes of members, those of the dead included", detector.probes)?;
        lines.counter("probes_failed", "Probes that nobody answered", detector.probes_failed)?;
        lines.counter("indirect_probes", "Others asked to ping a silent member", detector.indirect_probes)?;
        lines.counter("suspicions", "Members that this node found silent itself", detector.suspicions)?;
        lines.counter("deaths", "Suspects whose time was up at this node", detector.deaths)?;
        lines.counter("refutations", "Accusations that this node contradicted", detector.refutations)?;
        lines.counter("stops", "Times that this process did not run for a while", detector.stops)?;
        lines.gauge(
            "local_health",
            "0 when this node does well; up to 4 the more it doubts itself before others",
            i64::from(detector.health),
        )?;
        lines.counter(
            "calls_by_another_ring",
            "Calls of members that route by another ring than this node's",
            self.calls_by_other_rings,
        )?;
        for (name, which, round_trip) in [
            ("round_trip_median", "in the middle", round_trips.get(round_trips.len() / 2)),
            ("round_trip_max", "farthest away", round_trips.last()),
        ] {
            // A node that is alone has none.
            if let Some(round_trip) = round_trip {
                let help = format!("Round-trip time to the member {which}");
                let seconds = ConstGauge::new(round_trip.as_secs_f64());
                lines.metric(name, &help, Some(&Unit::Seconds), &seconds)?;
            }
        }
        lines.counter(
            "outbox_drops",
            "Messages dropped: a peer or this node was slower than the news or not to be reached",
            *outbox_drops,
        )?;
        lines.counters("refusals", "Refused peers and messages of members", "topic", refusals)?;
        lines.gauge("links", "QUIC connections to members", i64::try_from(*links).unwrap_or(i64::MAX))?;
        for (name, way, bytes, datagrams) in [
            ("received", "received from", udp.bytes_in, udp.datagrams_in),
            ("sent", "sent to", udp.bytes_out, udp.datagrams_out),
        ] {
            let help = format!("UDP payload {way} members");
            lines.metric(&format!("udp_{name}"), &help, Some(&Unit::Bytes), &ConstCounter::new(bytes))?;
            let help = format!("UDP datagrams {way} members");
            lines.metric(&format!("udp_{name}_datagrams"), &help, None, &ConstCounter::new(datagrams))?;
        }
        Ok(())
    }
}

/// Writes metrics one after the other.
struct Lines<'a>(DescriptorEncoder<'a>);

impl Lines<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        self.metric(name, help, None, &ConstGauge::new(value))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.metric(name, help, None, &ConstCounter::new(value))
    }

    fn metric(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        metric: &impl EncodeMetric,
    ) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, unit, metric.metric_type())?)
    }

    fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(&str, i64)]) -> fmt::Result {
        self.family(name, help, label, values.iter().map(|(key, value)| (*key, ConstGauge::new(*value))))
    }

    fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) -> fmt::Result {
        self.family(name, help, label, values.iter().map(|(key, value)| (*key, ConstCounter::new(*value))))
    }

    /// One line for each value of a label. The values are this program's own, so their number is fixed.
    fn family<'v, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        metrics: impl Iterator<Item = (&'v str, M)>,
    ) -> fmt::Result {
        let mut metrics = metrics.peekable();
        let Some((_, first)) = metrics.peek() else { return Ok(()) };
        let mut family = self.0.encode_descriptor(name, help, None, first.metric_type())?;
        for (value, metric) in metrics {
            metric.encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use beatmesh_mesh::counters::Traffic;
    use beatmesh_mesh::detector::Tally;

    use super::super::changes::tests::{member, view};
    use super::*;

    #[test]
    fn the_text_is_as_agreed() {
        let view = view(&[
            member("a", Liveness::Alive),
            member("b", Liveness::Suspect),
            member("c", Liveness::Dead),
        ]);
        let counters = Counters {
            detector: Tally {
                probes: 9,
                probes_failed: 2,
                indirect_probes: 4,
                suspicions: 1,
                deaths: 1,
                refutations: 3,
                stops: 1,
                health: 2,
            },
            round_trips: [1, 2, 30].map(Duration::from_millis).to_vec(),
            outbox_drops: 5,
            refusals: vec![("handshake", 7), ("mesh", 0)],
            links: 2,
            udp: Traffic { bytes_in: 1_000, bytes_out: 2_000, datagrams_in: 10, datagrams_out: 20 },
        };
        insta::assert_snapshot!(Metrics::of(Figures::of(&view, counters, 6)).text(None), @r##"
        # HELP beatmesh_members Members that this node knows, itself included
        # TYPE beatmesh_members gauge
        beatmesh_members{liveness="alive"} 1
        beatmesh_members{liveness="suspect"} 1
        beatmesh_members{liveness="dead"} 1
        beatmesh_members{liveness="left"} 0
        # HELP beatmesh_ring_members Members that own keys
        # TYPE beatmesh_ring_members gauge
        beatmesh_ring_members 2
        # HELP beatmesh_ring_frozen 1 while the ring is kept because more than half of it looked dead at once
        # TYPE beatmesh_ring_frozen gauge
        beatmesh_ring_frozen 0
        # HELP beatmesh_is_beat 1 when this node fires schedules, as it sees it
        # TYPE beatmesh_is_beat gauge
        beatmesh_is_beat 0
        # HELP beatmesh_incarnation Refutations of this life of the node, own precautions included
        # TYPE beatmesh_incarnation gauge
        beatmesh_incarnation 0
        # HELP beatmesh_probes Probes of members, those of the dead included
        # TYPE beatmesh_probes counter
        beatmesh_probes_total 9
        # HELP beatmesh_probes_failed Probes that nobody answered
        # TYPE beatmesh_probes_failed counter
        beatmesh_probes_failed_total 2
        # HELP beatmesh_indirect_probes Others asked to ping a silent member
        # TYPE beatmesh_indirect_probes counter
        beatmesh_indirect_probes_total 4
        # HELP beatmesh_suspicions Members that this node found silent itself
        # TYPE beatmesh_suspicions counter
        beatmesh_suspicions_total 1
        # HELP beatmesh_deaths Suspects whose time was up at this node
        # TYPE beatmesh_deaths counter
        beatmesh_deaths_total 1
        # HELP beatmesh_refutations Accusations that this node contradicted
        # TYPE beatmesh_refutations counter
        beatmesh_refutations_total 3
        # HELP beatmesh_stops Times that this process did not run for a while
        # TYPE beatmesh_stops counter
        beatmesh_stops_total 1
        # HELP beatmesh_local_health 0 when this node does well; up to 4 the more it doubts itself before others
        # TYPE beatmesh_local_health gauge
        beatmesh_local_health 2
        # HELP beatmesh_calls_by_another_ring Calls of members that route by another ring than this node's
        # TYPE beatmesh_calls_by_another_ring counter
        beatmesh_calls_by_another_ring_total 6
        # HELP beatmesh_round_trip_median_seconds Round-trip time to the member in the middle
        # TYPE beatmesh_round_trip_median_seconds gauge
        # UNIT beatmesh_round_trip_median_seconds seconds
        beatmesh_round_trip_median_seconds 0.002
        # HELP beatmesh_round_trip_max_seconds Round-trip time to the member farthest away
        # TYPE beatmesh_round_trip_max_seconds gauge
        # UNIT beatmesh_round_trip_max_seconds seconds
        beatmesh_round_trip_max_seconds 0.03
        # HELP beatmesh_outbox_drops Messages dropped: a peer or this node was slower than the news or not to be reached
        # TYPE beatmesh_outbox_drops counter
        beatmesh_outbox_drops_total 5
        # HELP beatmesh_refusals Refused peers and messages of members
        # TYPE beatmesh_refusals counter
        beatmesh_refusals_total{topic="handshake"} 7
        beatmesh_refusals_total{topic="mesh"} 0
        # HELP beatmesh_links QUIC connections to members
        # TYPE beatmesh_links gauge
        beatmesh_links 2
        # HELP beatmesh_udp_received_bytes UDP payload received from members
        # TYPE beatmesh_udp_received_bytes counter
        # UNIT beatmesh_udp_received_bytes bytes
        beatmesh_udp_received_bytes_total 1000
        # HELP beatmesh_udp_received_datagrams UDP datagrams received from members
        # TYPE beatmesh_udp_received_datagrams counter
        beatmesh_udp_received_datagrams_total 10
        # HELP beatmesh_udp_sent_bytes UDP payload sent to members
        # TYPE beatmesh_udp_sent_bytes counter
        # UNIT beatmesh_udp_sent_bytes bytes
        beatmesh_udp_sent_bytes_total 2000
        # HELP beatmesh_udp_sent_datagrams UDP datagrams sent to members
        # TYPE beatmesh_udp_sent_datagrams counter
        beatmesh_udp_sent_datagrams_total 20
        # EOF
        "##);
    }

    #[test]
    fn a_node_that_is_alone_has_no_round_trips() {
        let text = Metrics::of(Figures::of(&view(&[member("a", Liveness::Alive)]), Counters::default(), 0))
            .text(None);
        assert!(
            !text.contains("round_trip") && text.contains("beatmesh_members{liveness=\"alive\"} 1\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
