//! The node processes of a `dev` mesh: starting, waiting for the end of one, stopping all.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::node_process::{self, Line};
use super::place::Place;
use super::ports::{self, Addresses};
use super::screen::Screen;
use crate::signals::Signals;

/// Nodes get this long to leave; their own budget for it is shorter (`limits.shutdown`).
const LEAVE: Duration = Duration::from_secs(10);

/// Kept per node, for the message when it does not start.
const LAST_LINES: usize = 20;

/// A burst of log lines; when it is full, nodes wait.
const LINES: usize = 1_024;

/// What a node that has just died has written arrives within this.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// One node and, while it lives, its process.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) addresses: Addresses,
    child: Option<Child>,
    last_lines: VecDeque<String>,
}

impl Slot {
    /// The process, while there is one.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }
}

/// What happened to the fleet.
pub(super) enum Event {
    /// A node wrote a line.
    Line(Line),
    /// The process of the node with this index ended.
    Ended { node: usize, pid: u32, status: ExitStatus },
}

/// All nodes.
pub(super) struct Fleet<'p> {
    place: &'p Place,
    pub(super) slots: Vec<Slot>,
    lines: mpsc::Receiver<Line>,
    lines_in: mpsc::Sender<Line>,
    readers: JoinSet<()>,
}

impl<'p> Fleet<'p> {
    /// Nothing runs yet.
    pub(super) fn new(place: &'p Place, addresses: Vec<Addresses>) -> Self {
        let (lines_in, lines) = mpsc::channel(LINES);
        let slot = |(i, addresses)| Slot {
            name: format!("node-{i}"),
            addresses,
            child: None,
            last_lines: VecDeque::new(),
        };
        let slots = (1..).zip(addresses).map(slot).collect();
        Self { place, slots, lines, lines_in, readers: JoinSet::new() }
    }

    /// Starts the process of a node.
    pub(super) fn spawn(&mut self, node: usize) -> io::Result<u32> {
        let slot = &mut self.slots[node];
        slot.addresses.mesh = ports::still_free_mesh(slot.addresses.mesh);
        slot.last_lines.clear();
        let readers = &mut self.readers;
        // Those of the process before; they ended with it.
        while readers.try_join_next().is_some() {}
        let child =
            node_process::spawn(node, &slot.name, slot.addresses, self.place, &self.lines_in, readers)?;
        let pid = child.id().unwrap_or(0);
        slot.child = Some(child);
        Ok(pid)
    }

    /// The next thing that happens. Waits for ever when nothing runs and nothing is left to read.
    /// May be dropped at any time without losing anything.
    pub(super) async fn next(&mut self) -> Event {
        let event = tokio::select! {
            // Lines first: what a node said before it died is shown before its death.
            biased;
            Some(line) = self.lines.recv() => Event::Line(line),
            (node, pid, status) = ended(&mut self.slots) => Event::Ended { node, pid, status },
        };
        match &event {
            Event::Line(line) => self.remember(line),
            Event::Ended { node, .. } => self.slots[*node].child = None,
        }
        event
    }

    fn remember(&mut self, line: &Line) {
        let last_lines = &mut self.slots[line.node].last_lines;
        if last_lines.len() == LAST_LINES {
            last_lines.pop_front();
        }
        last_lines.push_back(line.text.clone());
    }

    /// The last lines of a node's log, those on their way included.
    pub(super) async fn last_lines(&mut self, node: usize) -> Vec<String> {
        while let Ok(Some(line)) = timeout(LAST_WORDS, self.lines.recv()).await {
            self.remember(&line);
        }
        self.slots[node].last_lines.iter().cloned().collect()
    }

    /// Stops all nodes: asked first, killed when the time is over or at the next request. Whether all
    /// of them left by themselves.
    pub(super) async fn stop(&mut self, signals: &mut Signals, screen: &mut Screen) -> bool {
        let running = self.slots.iter().filter(|slot| slot.child.is_some()).count();
        if running > 0 {
            screen.say(&format!("stopping {running} nodes"));
        }
        self.signal_all(libc::SIGTERM);
        let deadline = Instant::now() + LEAVE;
        let (mut clean, mut killed) = (true, false);
        while self.slots.iter().any(|slot| slot.child.is_some()) {
            let why = tokio::select! {
                event = self.next() => {
                    match event {
                        Event::Line(line) => screen.log(line.node, &self.slots[line.node].name, &line.text),
                        Event::Ended { node, status, .. } if !status.success() && !killed => {
                            screen.say(&format!("{} did not leave cleanly: {}", self.slots[node].name, ending(status)));
                            clean = false;
                        }
                        Event::Ended { .. } => {}
                    }
                    continue;
                }
                () = signals.asked(), if !killed => "asked again".to_owned(),
                () = tokio::time::sleep_until(deadline), if !killed => {
                    format!("still running after {} s", LEAVE.as_secs())
                }
            };
            let left = self.slots.iter().filter(|slot| slot.child.is_some()).map(|slot| slot.name.as_str());
            screen.say(&format!("{why}: killing {}", left.collect::<Vec<_>>().join(", ")));
            self.signal_all(libc::SIGKILL);
            (clean, killed) = (false, true);
        }
        while let Ok(line) = self.lines.try_recv() {
            screen.log(line.node, &self.slots[line.node].name, &line.text);
        }
        if running > 0 && clean {
            screen.say("all nodes have left");
        }
        clean
    }

    fn signal_all(&self, signal: i32) {
        for child in self.slots.iter().filter_map(|slot| slot.child.as_ref()) {
            node_process::send_signal(child, signal);
        }
    }
}

/// The next process that ends.
async fn ended(slots: &mut [Slot]) -> (usize, u32, ExitStatus) {
    let mut waits: FuturesUnordered<_> = slots
        .iter_mut()
        .enumerate()
        .filter_map(|(node, slot)| Some((node, slot.child.as_mut()?)))
        .map(|(node, child)| async move {
            let pid = child.id().unwrap_or(0);
            (node, pid, child.wait().await)
        })
        .collect();
    while let Some((node, pid, outcome)) = waits.next().await {
        if let Ok(status) = outcome {
            return (node, pid, status);
        }
        // Waiting fails only for a child that somebody else waited for, and nobody else does.
    }
    std::future::pending().await
}

/// How a process ended, in words.
pub(super) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}
