//! What a server's scripts did, as events of the history: told by the keys that they wrote, which say what happened
//! whatever the script believed, and by the answers where keys do not say it.

use std::collections::BTreeMap;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::queue::redis::scripts;
use beatmesh_node::queue::task::{TaskId, TaskState};

use super::lua::Write;
use super::resp::Reply;
use super::server::{Called, Done};
use super::tables::{Life, Standing, life, line};
use crate::history::Event;

/// A value of the hash `schedules` as it was read, and the clock that was read with it.
type Looked = (Vec<u8>, UnixMs);

/// Watches the keys of one mesh.
pub(super) struct Observer {
    /// What its keys begin with.
    prefix: String,
    /// The names of scripts, by their digests.
    names: BTreeMap<&'static str, &'static str>,
    /// Where schedules stood when they were last looked at through one connection, and the clock that was read with
    /// it: by that an edit's fence is computed.
    looked: BTreeMap<Vec<u8>, BTreeMap<u64, Looked>>,
}

impl Observer {
    pub(super) fn new(prefix: String) -> Self {
        let names = scripts().into_iter().map(|script| (script.digest(), script.name)).collect();
        Self { prefix, names, looked: BTreeMap::new() }
    }

    /// What one command of one connection has done.
    ///
    /// # Errors
    /// What must not happen: a script that failed when it had written already.
    pub(super) fn observe(&mut self, connection: u64, done: &Done) -> Result<Vec<Event>, String> {
        let Some(called) = &done.script else { return Ok(Vec::new()) };
        let name = self.names.get(called.digest.as_str()).copied().unwrap_or("?");
        if let Reply::Error(error) = &done.reply {
            if done.writes.is_empty() {
                return Ok(Vec::new());
            }
            return Err(format!("script `{name}` failed when it had written already: {error}"));
        }
        let mut events = self.of_writes(&done.writes);
        match name {
            "standing" => self.look(connection, called, &done.reply),
            "fence" => events.extend(self.fenced(connection, called, &done.reply, &events)),
            "complete" => events.extend(completed(called, &done.reply)),
            "tick" => events.extend(refused(called, &done.reply)),
            "scan" => events.extend(repaired(&done.reply)),
            _ => {}
        }
        Ok(events)
    }

    /// Which one of a kind a key is about.
    fn named<'a>(&self, key: &'a [u8], kind: &str) -> Option<&'a str> {
        std::str::from_utf8(key).ok()?.strip_prefix(self.prefix.as_str())?.strip_prefix(kind)
    }

    fn of_writes(&self, writes: &[Write]) -> Vec<Event> {
        let mut events = Vec::new();
        for Write { words, before, .. } in writes {
            if words[0].eq_ignore_ascii_case(b"mset") {
                let values = words[1..].chunks_exact(2).zip(before);
                events.extend(
                    values.flat_map(|(pair, before)| self.of_value(&pair[0], before.as_deref(), &pair[1])),
                );
            } else if words[0].eq_ignore_ascii_case(b"zadd")
                && let Some(schedule) = words.get(1).and_then(|key| self.named(key, "ticks:"))
                && let Ok(schedule) = schedule.parse::<ScheduleName>()
            {
                let ticks = words[2..].chunks_exact(2).filter_map(|pair| line(&pair[1]));
                events.extend(ticks.map(|tick| Event::TickCommitted {
                    schedule: schedule.clone(),
                    revision: tick.revision,
                    from: tick.from,
                    due: tick.due,
                    count: tick.count,
                    skipped: tick.skipped,
                    task: tick.task,
                    node: tick.node,
                    store_now: tick.committed_at,
                }));
            }
        }
        events
    }

    /// What a new value under a task's key tells.
    fn of_value(&self, key: &[u8], before: Option<&[u8]>, after: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(task) = self.named(key, "task:").and_then(|id| id.parse::<TaskId>().ok()) else {
            return events;
        };
        let Some(after) = life(after) else { return events };
        let before = before.and_then(life);
        if before.is_none() {
            events.push(Event::Stored { task });
        }
        let was = |state: TaskState| before.as_ref().is_some_and(|before| before.state == state);
        let begun = |life: &Life| (life.state == TaskState::Leased).then_some(life.attempt);
        if let Some(attempt) =
            begun(&after).filter(|attempt| before.as_ref().and_then(begun) != Some(*attempt))
        {
            let node = after.node.clone().unwrap_or_default();
            events.push(Event::Claimed { task, attempt, node });
        }
        if matches!(after.state, TaskState::Cancelled | TaskState::Expired) && !was(after.state) {
            events.push(Event::TakenOut { task, state: after.state });
        }
        if before.as_ref().is_some_and(|before| after.lost > before.lost) {
            events.push(Event::LeaseLost { task, dead: after.state == TaskState::Dead });
        }
        events
    }

    fn look(&mut self, connection: u64, called: &Called, reply: &Reply) {
        let (Some(schedule), Reply::Array(items)) = (called.args.first(), reply) else { return };
        let Some(Reply::Int(now)) = items.first() else { return };
        let stands = match items.get(1) {
            Some(Reply::Bulk(text)) => text.clone(),
            _ => Vec::new(),
        };
        let looks = self.looked.entry(schedule.clone()).or_default();
        let looked = looks.entry(connection).or_insert_with(|| (Vec::new(), UnixMs(*now)));
        // The first look at it counts: of two edits at a time nobody knows whose the fence is.
        if looked.0 != stands || stands.is_empty() {
            *looked = (stands, UnixMs(*now));
        }
    }

    /// A fence that was written. Its own time is in its line, or in its cursor if that moved; else it is that of the
    /// look that it was computed from.
    fn fenced(&self, connection: u64, called: &Called, reply: &Reply, lines: &[Event]) -> Option<Event> {
        let is_written = matches!(reply, Reply::Array(items) if items.first() == Some(&Reply::Int(1)));
        let [name, before, after, ..] = called.args.as_slice() else { return None };
        let schedule: ScheduleName = std::str::from_utf8(name).ok()?.parse().ok()?;
        let looks = || {
            let looks = self.looked.get(name).into_iter().flatten();
            looks.filter(|(_, (stands, _))| stands == before).map(|(whose, (_, now))| (*whose, *now))
        };
        // Between its look and its fence a node may have had to connect anew: then it is one of those that saw the same.
        let looked =
            looks().find(|(whose, _)| *whose == connection).or_else(|| looks().min_by_key(|(_, now)| *now));
        let (before, after) = (Standing::read(before), Standing::read(after).filter(|_| is_written)?);
        let in_line = lines.iter().find_map(|event| match event {
            Event::TickCommitted { store_now, .. } => Some(*store_now),
            _ => None,
        });
        let moved = before.is_none_or(|before| before.cursor != after.cursor).then_some(after.cursor);
        Some(Event::Fenced {
            schedule,
            revision: after.revision,
            enabled: after.enabled == "1",
            cron: after.cron,
            cursor: after.cursor,
            // Whoever saw it has seen no more than what was decided by then.
            store_now: in_line.or(moved).or(looked.map(|(_, now)| now)).unwrap_or(after.cursor),
        })
    }
}

/// Ends that were recorded: there is one answer for each, so that says how many words each has.
fn completed(called: &Called, reply: &Reply) -> Vec<Event> {
    let Reply::Array(states) = reply else { return Vec::new() };
    let words = called.args.len() / states.len().max(1);
    let endings = called.args.chunks_exact(words.max(2)).zip(states);
    let recorded = endings.filter_map(|(ending, state)| {
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).ok();
        let Reply::Bulk(state) = state else { return None };
        // A stale one is none of these.
        let state: TaskState = text(state)?.parse().ok()?;
        let (task, attempt) = (text(&ending[0])?.parse().ok()?, text(&ending[1])?.parse().ok()?);
        Some(Event::Completed { task, attempt, state })
    });
    recorded.collect()
}

/// What a scan found and put right.
fn repaired(reply: &Reply) -> Vec<Event> {
    let Reply::Array(parts) = reply else { return Vec::new() };
    let repairs = parts.get(2).and_then(super::scan::pairs).unwrap_or_default();
    repairs.into_iter().map(|(kind, what)| Event::Repaired { kind, what }).collect()
}

/// Commits that were not made: each has an answer of its own, and says first how many words it has.
fn refused(called: &Called, reply: &Reply) -> Vec<Event> {
    let Reply::Array(answers) = reply else { return Vec::new() };
    let mut rest = called.args.as_slice();
    let mut next = || {
        let (length, words) = rest.split_first()?;
        let (commit, others) = words.split_at_checked(text(length)?.parse().ok()?)?;
        rest = others;
        Some(commit)
    };
    answers.iter().filter_map(|answer| of_commit(next()?, answer)).collect()
}

fn of_commit(commit: &[Vec<u8>], answer: &Reply) -> Option<Event> {
    let Reply::Array(items) = answer else { return None };
    let reason = match items.first() {
        Some(Reply::Bulk(word)) if word == b"moved" => "moved",
        Some(Reply::Bulk(word)) if word == b"early" => "too early",
        _ => return None,
    };
    let due = UnixMs(text(commit.get(commit.len().checked_sub(7)?)?)?.parse().ok()?);
    let node = text(commit.get(3)?)?.to_owned();
    Some(Event::TickRefused { schedule: text(commit.first()?)?.parse().ok()?, due, reason, node })
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
