//! What happened in a run, in order: the only thing that properties look at besides the store's end state.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::queue::task::{TaskId, TaskState};
use parking_lot::Mutex;
use serde::Serialize;

use crate::trace::{self, Packet};

/// When every simulated world begins: 2026-01-01T00:00:00Z.
pub const EPOCH: UnixMs = UnixMs(1_767_225_600_000);

/// One thing that happened. Nodes go by their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A node's start has ended well.
    NodeReady {
        /// Which one.
        node: String,
        /// Counts its starts, from 1.
        life: u64,
        /// What its data directory gave it.
        generation: u64,
    },
    /// A fault began.
    FaultBegan {
        /// In words.
        fault: String,
        /// Its place in the plan: the same at its beginning and its end.
        number: usize,
        /// Its kind in one word.
        kind: &'static str,
        /// The nodes concerned.
        nodes: Vec<String>,
    },
    /// With a fault that just began more or less is lost on these ways.
    WaysLossy {
        /// The fault's place in the plan.
        number: usize,
        /// So many in a hundred, while it is at its worst.
        percent: u8,
        /// From whom to whom.
        ways: Vec<(String, String)>,
    },
    /// A fault ended.
    FaultEnded {
        /// In words.
        fault: String,
        /// Its place in the plan: the same at its beginning and its end.
        number: usize,
        /// Its kind in one word.
        kind: &'static str,
        /// The nodes concerned.
        nodes: Vec<String>,
    },
    /// A node's process has ended.
    NodeDown {
        /// Which one.
        node: String,
        /// The fault's kind; or why it ended by itself: `start_failed`, `outdated`, `killed`.
        how: &'static str,
    },
    /// This node must not become a member of the mesh.
    Stranger {
        /// Which one.
        node: String,
        /// Why, in one word.
        kin: &'static str,
    },
    /// A node of a later version has stated a fact that this one does not know; the values of a node grow.
    FactStated {
        /// Which one.
        node: String,
        /// Its value.
        value: u64,
    },
    /// A node's view shows another value of that fact than before.
    FactSeen {
        /// Whose view.
        observer: String,
        /// Whose fact.
        member: String,
        /// Its value.
        value: u64,
    },
    /// So often one life of a node has refused somebody, or dropped a message; told at its end.
    Refused {
        /// Which node.
        node: String,
        /// What it was about.
        topic: &'static str,
        /// How often.
        count: u64,
    },
    /// A machine was given the data directory of a node: what runs on it goes by that node's id.
    Cloned {
        /// The machine, whose name stands for its processes from here on.
        machine: String,
        /// The node.
        of: String,
    },
    /// A node's process was stopped; nothing of it runs.
    Paused {
        /// Which one.
        node: String,
    },
    /// It goes on.
    Resumed {
        /// Which one.
        node: String,
    },
    /// A node's view of a member changed.
    MemberSeen {
        /// Whose view.
        observer: String,
        /// Which life of the observer.
        life: u64,
        /// Of whom.
        member: String,
        /// Which life of the member.
        generation: u64,
        /// `alive`, `suspect`, `dead` or `left`.
        liveness: &'static str,
    },
    /// The members of a node's ring changed.
    RingSeen {
        /// Whose ring.
        observer: String,
        /// Which life of the observer.
        life: u64,
        /// Who stands on it.
        members: Vec<String>,
    },
    /// A node's belief who is the Beat changed.
    BeatSeen {
        /// Whose belief.
        observer: String,
        /// Who it is.
        beat: Option<String>,
    },
    /// The catalogue took an edit of a schedule whose fence another store has to take.
    Defined {
        /// The schedule.
        schedule: ScheduleName,
        /// Its revision from here on.
        revision: u64,
        /// Whether it is to run.
        enabled: bool,
    },
    /// The store took an edit of a schedule.
    Fenced {
        /// The schedule.
        schedule: ScheduleName,
        /// The only revision whose ticks may commit from here on.
        revision: u64,
        /// Whether any may.
        enabled: bool,
        /// When it is due from here on; `None` when it was deleted.
        cron: Option<String>,
        /// Due times up to here are owed to nobody.
        cursor: UnixMs,
        /// The store's clock, by which it judged.
        store_now: UnixMs,
    },
    /// The store took a decision about a due time, or a run of them.
    TickCommitted {
        /// The schedule.
        schedule: ScheduleName,
        /// Its revision.
        revision: u64,
        /// Of a run the first due time.
        from: UnixMs,
        /// The due time; of a run the last one.
        due: UnixMs,
        /// How many due times these are.
        count: u32,
        /// Why it was skipped, if it was.
        skipped: Option<String>,
        /// What was enqueued, if it was fired.
        task: Option<TaskId>,
        /// Who asked; empty when an edit gave them up.
        node: String,
        /// The store's clock, by which it judged.
        store_now: UnixMs,
    },
    /// The store refused a commit: another node was faster, or it came too early.
    TickRefused {
        /// The schedule.
        schedule: ScheduleName,
        /// The last due time asked for.
        due: UnixMs,
        /// Why.
        reason: &'static str,
        /// Who asked.
        node: String,
    },
    /// The store took a task that it did not have.
    Stored {
        /// The task.
        task: TaskId,
    },
    /// A client was told that its task is stored.
    Acknowledged {
        /// The task.
        task: TaskId,
        /// The key that it was sent under: the same key is the same task.
        key: String,
        /// Whether each execution takes its node down.
        deadly: bool,
    },
    /// A client was told that its edit of a schedule is made.
    EditAcknowledged {
        /// The schedule.
        schedule: ScheduleName,
        /// The revision that it was told.
        revision: u64,
        /// What it had asked for: whether the schedule is to run; `None` when that stays as it is.
        enabled: Option<bool>,
    },
    /// The store has lost what it took since a fault began.
    StoreForgot {
        /// The fault's place in the plan.
        number: usize,
    },
    /// The queue's store knows nothing of what it took after so many records of this history.
    QueueForgot {
        /// How many.
        known: usize,
    },
    /// A worker was given a task.
    Claimed {
        /// The task.
        task: TaskId,
        /// Which execution.
        attempt: u32,
        /// To whom.
        node: String,
    },
    /// A function began to run.
    Began {
        /// The task, or the call.
        task: TaskId,
        /// Which execution.
        attempt: u32,
        /// Where.
        node: String,
    },
    /// A function ran to its end.
    Executed {
        /// The task, or the call.
        task: TaskId,
        /// Which execution.
        attempt: u32,
        /// Where.
        node: String,
    },
    /// The store took the end of an attempt.
    Completed {
        /// The task.
        task: TaskId,
        /// Which execution.
        attempt: u32,
        /// Where the task stands now.
        state: TaskState,
    },
    /// A task that nobody was running was cancelled or has expired.
    TakenOut {
        /// The task.
        task: TaskId,
        /// Which of both.
        state: TaskState,
    },
    /// Leases had run out.
    LeaseLost {
        /// The task.
        task: TaskId,
        /// Whether it was put aside for good.
        dead: bool,
    },
}

/// An event and when it happened, by virtual time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// True time, which no node's clock may show.
    pub at: UnixMs,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Collects events from all hosts of one run.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    records: Vec<Record>,
    packets: Vec<Packet>,
    /// Virtual time when no host runs: between two steps.
    between: Duration,
}

impl History {
    /// Tells the time to what happens between two steps.
    pub fn set_time(&self, elapsed: Duration) {
        self.0.lock().between = elapsed;
    }

    /// True time now: the running host's, or that of the last step.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        EPOCH.plus(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| self.0.lock().between)
    }

    /// Adds an event.
    pub fn record(&self, event: Event) {
        let at = self.now();
        self.0.lock().records.push(Record { at, event });
    }

    /// Adds a packet that leaves its host now.
    pub fn sent(&self, from: IpAddr, to: SocketAddr, bytes: &[u8]) {
        let at = self.elapsed();
        let mut inner = self.0.lock();
        let packet = Packet::new(inner.records.len(), at, from, to, bytes);
        inner.packets.push(packet);
    }

    /// How many events there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().records.len()
    }

    /// Whether nothing has happened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything so far.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.0.lock().records.clone()
    }

    /// All packets so far.
    #[must_use]
    pub fn packets(&self) -> Vec<Packet> {
        self.0.lock().packets.clone()
    }

    /// [`trace::hash`] of everything so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let inner = self.0.lock();
        trace::hash(&inner.records, &inner.packets)
    }
}

/// A record as one line of JSON.
#[must_use]
pub fn line(record: &Record) -> String {
    serde_json::to_string(record).expect("a record holds only texts and numbers")
}
