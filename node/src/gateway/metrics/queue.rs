//! The queue and the Beat: what this node saw, and how many tasks there are.
//!
//! Counts of tasks are the same on every node, up to some seconds: take the largest, not the sum.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use beatmesh_mesh::env::UnixMs;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::Lines;
use crate::beat::tally::BeatTally;
use crate::catalogue::name::QueueName;
use crate::queue::QueueCounts;
use crate::queue::counted::QueueTally;

/// Queues that are told of by name: each is a line for each state that its tasks are in. Names come from users, and a
/// metric must not grow with them; of the others only the number is told.
const MOST_QUEUES: usize = 100;

/// What this node saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) queue: Arc<QueueTally>,
    pub(super) beat: Arc<BeatTally>,
}

impl Collector for Seen {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut lines = Lines(encoder);
        let Self { queue, beat } = self;
        for (name, help, count) in [
            ("tasks_enqueued", "Tasks that this node stored for clients", &queue.enqueued),
            ("tasks_claimed", "Tasks that this node was given to run", &queue.claimed),
            ("tasks_lost", "Leases that this node found to be lost", &queue.lost),
            ("tasks_dead", "Tasks that this node put aside because they lost too many leases", &queue.dead),
            ("tasks_expired", "Tasks that this node found to be begun too late", &queue.expired),
        ] {
            lines.counter(name, help, count.get())?;
        }
        let ended = [
            ("done", queue.done.get()),
            ("failed", queue.failed.get()),
            ("retried", queue.retried.get()),
            ("handed_back", queue.handed_back.get()),
            ("stale", queue.stale.get()),
        ];
        lines.counters(
            "attempts_ended",
            "Ends of attempts that this node told the store, by what became of them",
            "outcome",
            &ended,
        )?;
        lines.counters(
            "queue_repairs",
            "What this node's scans found wrong in the queue's store and put right",
            "kind",
            &queue.repaired(),
        )?;
        lines.counters(
            "queue_errors",
            "Requests to the queue's store that it did not carry out, or did not say so",
            "outcome",
            &queue.errors(),
        )?;
        let seconds = Some(&Unit::Seconds);
        lines.metric("claim", "Time until the queue's store answered a claim", seconds, &queue.claims)?;
        lines.metric(
            "completion",
            "Time until the queue's store had recorded an end",
            seconds,
            &queue.completions,
        )?;

        lines.gauge(
            "beat_schedules",
            "Schedules that are to run, as this node knows them",
            beat.schedules.get(),
        )?;
        lines.gauge(
            "beat_pending",
            "Commits of due times that the store has not answered yet",
            beat.pending.get(),
        )?;
        lines.counter("ticks_fired", "Due times that this node fired", beat.fired.get())?;
        lines.counters("ticks_skipped", "Due times that this node skipped", "reason", &beat.skipped())?;
        lines.counter(
            "tick_conflicts",
            "Commits that came too late: another node was faster, or an edit",
            beat.conflicts.get(),
        )?;
        lines.counter("ticks_early", "Commits that came too early by the store's clock", beat.early.get())?;
        lines.counter(
            "tick_errors",
            "Commits that the store did not carry out, or did not say so",
            beat.errors.get(),
        )?;
        lines.counter(
            "store_rollbacks",
            "Times that the queue's store was found to have lost what it had taken",
            beat.rollbacks.get(),
        )?;
        lines.metric(
            "tick_lateness",
            "How late this node fired, by the store's clock",
            seconds,
            &beat.lateness,
        )
    }
}

/// How many tasks there are.
#[derive(Debug)]
pub(super) struct Tasks {
    pub(super) counts: Arc<BTreeMap<QueueName, QueueCounts>>,
    /// By this node's wall clock.
    pub(super) now: UnixMs,
    /// What the store has set aside, where it does so.
    pub(super) aside: Option<u64>,
}

impl Collector for Tasks {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let told = || self.counts.iter().take(MOST_QUEUES);
        {
            let help = "Tasks by queue and state; of those that have ended, those that are kept";
            let mut family =
                encoder.encode_descriptor("tasks", help, None, ConstGauge::new(0_i64).metric_type())?;
            for (queue, counts) in told() {
                for (state, count) in &counts.tasks {
                    let labels = [("queue", queue.as_str()), ("state", state.as_str())];
                    gauge(*count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        {
            let help = "How long the oldest ready task waits, by this node's clock";
            let seconds = Some(&Unit::Seconds);
            let kind = ConstGauge::new(0_f64).metric_type();
            let mut family = encoder.encode_descriptor("oldest_ready", help, seconds, kind)?;
            for (queue, counts) in told() {
                if let Some(since) = counts.oldest_ready {
                    let age = ConstGauge::new(since.until(self.now).as_secs_f64());
                    age.encode(family.encode_family(&[("queue", queue.as_str())])?)?;
                }
            }
        }
        let mut lines = Lines(encoder);
        let left_out = self.counts.len().saturating_sub(MOST_QUEUES);
        lines.gauge(
            "queues_left_out",
            "Queues beyond the first hundred, of which nothing is told here",
            left_out as i64,
        )?;
        if let Some(aside) = self.aside {
            let help = "Entries of the queue's store that are none of ours, or cannot be read";
            lines.gauge("queue_set_aside", help, i64::try_from(aside).unwrap_or(i64::MAX))?;
        }
        Ok(())
    }
}

fn gauge(count: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::queue::task::TaskState;

    fn text(collector: impl Collector) -> String {
        let mut registry = Registry::with_prefix("beatmesh");
        registry.register_collector(Box::new(collector));
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn queues_are_told_of_up_to_a_number_and_the_rest_is_counted() {
        let counts = (0..MOST_QUEUES + 3).map(|number| {
            let tasks = [(TaskState::Ready, 2), (TaskState::Done, 1)].into();
            let of = QueueCounts { tasks, oldest_ready: Some(UnixMs(8_500)) };
            (format!("q{number:03}").parse().unwrap(), of)
        });
        let text = text(Tasks { counts: Arc::new(counts.collect()), now: UnixMs(10_000), aside: Some(4) });
        assert_eq!(text.matches("beatmesh_tasks{").count(), 2 * MOST_QUEUES, "{text}");
        for line in [
            "beatmesh_tasks{queue=\"q000\",state=\"ready\"} 2",
            "beatmesh_tasks{queue=\"q000\",state=\"done\"} 1",
            "beatmesh_oldest_ready_seconds{queue=\"q099\"} 1.5",
            "beatmesh_queues_left_out 3",
            "beatmesh_queue_set_aside 4",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_node_that_has_seen_nothing_says_so_with_zeros() {
        let text = text(Seen { queue: Arc::default(), beat: Arc::default() });
        for line in [
            "beatmesh_tasks_claimed_total 0",
            "beatmesh_attempts_ended_total{outcome=\"stale\"} 0",
            "beatmesh_queue_repairs_total{kind=\"placed\"} 0",
            "beatmesh_claim_seconds_count 0",
            "beatmesh_ticks_skipped_total{reason=\"superseded\"} 0",
            "beatmesh_tick_lateness_seconds_bucket{le=\"0.005\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }
}
