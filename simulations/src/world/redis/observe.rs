//! What a server's scripts did, as events of the history: told by the keys that they wrote, which say what happened
//! whatever the script believed, and by the answers where keys do not say it.

use std::collections::BTreeMap;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::queue::redis::scripts;
use beatmesh_node::queue::task::{TaskId, TaskState};

use super::lua::Write;
use super::resp::{Command, Reply};
use super::server::{Called, Done};
use super::tables::{Standing, line};
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
            _ => {}
        }
        Ok(events)
    }

    fn key<'a>(&self, words: &'a Command, kind: &str) -> Option<&'a str> {
        let key = std::str::from_utf8(words.get(1)?).ok()?;
        key.strip_prefix(self.prefix.as_str())?.strip_prefix(kind)
    }

    fn of_writes(&self, writes: &[Write]) -> Vec<Event> {
        let mut events = Vec::new();
        for (place, Write { words, reply }) in writes.iter().enumerate() {
            if let Some(id) = self.key(words, "task:") {
                let Ok(task) = id.parse::<TaskId>() else { continue };
                match words[0].to_ascii_lowercase().as_slice() {
                    b"hsetnx" if *reply == Reply::Int(1) => events.push(Event::Stored { task }),
                    b"hset" => {
                        let field = |name: &str| field(words, name);
                        if field("state") == Some("leased")
                            && let (Some(attempt), Some(node)) = (field("attempt"), field("node"))
                        {
                            let attempt = attempt.parse().unwrap_or(0);
                            events.push(Event::Claimed { task, attempt, node: node.to_owned() });
                        }
                        if let Some(state @ ("cancelled" | "expired")) = field("state")
                            && let Ok(state) = state.parse()
                        {
                            events.push(Event::TakenOut { task, state });
                        }
                        if field("lost").is_some() {
                            let of_task = |write: &&Write| write.words.get(1) == words.get(1);
                            let later = writes[place..].iter().filter(of_task);
                            let state =
                                later.filter_map(|write| self::field(&write.words, "state")).next_back();
                            events.push(Event::LeaseLost { task, dead: state == Some("dead") });
                        }
                    }
                    _ => {}
                }
            } else if let Some(schedule) = self.key(words, "ticks:")
                && words[0].eq_ignore_ascii_case(b"zadd")
                && let (Ok(schedule), Some(tick)) = (schedule.parse(), line(&words[words.len() - 1]))
            {
                events.push(Event::TickCommitted {
                    schedule,
                    revision: tick.revision,
                    from: tick.from,
                    due: tick.due,
                    count: tick.count,
                    skipped: tick.skipped,
                    task: tick.task,
                    node: tick.node,
                    store_now: tick.committed_at,
                });
            }
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

/// A field that an `HSET` sets.
fn field<'a>(words: &'a Command, name: &str) -> Option<&'a str> {
    if !words[0].eq_ignore_ascii_case(b"hset") {
        return None;
    }
    let pair = words[2..].chunks_exact(2).rev().find(|pair| pair[0] == name.as_bytes())?;
    std::str::from_utf8(&pair[1]).ok()
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

/// A commit that was not made.
fn refused(called: &Called, reply: &Reply) -> Option<Event> {
    let Reply::Array(items) = reply else { return None };
    let reason = match items.first() {
        Some(Reply::Bulk(word)) if word == b"moved" => "moved",
        Some(Reply::Bulk(word)) if word == b"early" => "too early",
        _ => return None,
    };
    let text = |at: usize| String::from_utf8(called.args.get(at)?.clone()).ok();
    let due = UnixMs(text(called.args.len().checked_sub(7)?)?.parse().ok()?);
    Some(Event::TickRefused { schedule: text(0)?.parse().ok()?, due, reason, node: text(3)? })
}
