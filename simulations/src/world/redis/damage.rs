//! What a person with a shell, or a failover that kept half of a change, may leave behind: entries that are missing,
//! entries that should not be there, counts that are wrong, values that are nobody's.

use rand::RngExt;
use rand::rngs::StdRng;

use super::commands;
use super::data::{Data, SortedSet};
use super::hosts::RedisHosts;
use super::resp::Command;

/// Things broken at once.
const MANY: usize = 24;

impl RedisHosts {
    /// Breaks some of what is there, the same on all servers; answers how much.
    pub fn damage(&self) -> usize {
        self.on_all(|data, prefix, dice| {
            let commands: Vec<_> = (0..MANY).filter_map(|_| command(data, prefix, dice)).collect();
            commands.into_iter().filter(|words| is_changed(data, words)).collect()
        })
    }
}

/// Whether a command changes anything; it is carried out with that.
fn is_changed(data: &mut Data, words: &Command) -> bool {
    let before = data.clone();
    let spec = commands::find(&words[0]).expect("it is one of those below");
    spec.run(data, words).is_ok() && *data != before
}

/// One way to break something, if there is something of the kind.
fn command(data: &Data, prefix: &str, dice: &mut StdRng) -> Option<Command> {
    const PLACES: [&str; 8] =
        ["wait", "leases", "expiry", "all", "ended:done", "ended:failed", "ready:", "again:"];
    let tasks: Vec<_> =
        data.keys().filter(|key| key.starts_with(format!("{prefix}task:").as_bytes())).collect();
    let place = PLACES[dice.random_range(0..PLACES.len())];
    let beginning = format!("{prefix}{place}").into_bytes();
    let places: Vec<_> = data.keys().filter(|key| key.starts_with(&beginning)).collect();
    let words = |words: &[&[u8]]| Some(words.iter().map(|word| word.to_vec()).collect());
    let key = |name: &str| format!("{prefix}{name}").into_bytes();
    let one_of = |dice: &mut StdRng, keys: &[&Vec<u8>]| {
        (!keys.is_empty()).then(|| keys[dice.random_range(0..keys.len())].clone())
    };
    match dice.random_range(0..10) {
        // An entry is missing.
        0..=2 => {
            let place = one_of(dice, &places)?;
            let set = data.read::<SortedSet>(&place).ok()??;
            let entry = set.iter().nth(dice.random_range(0..set.len()))?.0.clone();
            words(&[b"zrem", &place, &entry])
        }
        // An entry that should not be there.
        3 | 4 => {
            let task = one_of(dice, &tasks)?;
            let id = &task[prefix.len() + 5..];
            let others = ["wait", "leases", "ended:dead"];
            // What waits in vain is put back by the scan; a task that is done already is only in the way.
            let other = others[dice.random_range(0..others.len())];
            words(&[b"zadd", &key(other), b"99999999999999", id])
        }
        5 => words(&[b"sadd", &key("runs:every-second"), b"01890000-0000-7000-8000-000000000000"]),
        6 => words(&[b"hincrby", &key("counts"), b"leased:work", b"7"]),
        7 => words(&[b"hset", &key("task:nobody's"), b"field", b"value"]),
        8 => words(&[b"set", &key("task:rubbish"), b"ready or not"]),
        _ => words(&[b"set", &key("output:01890000-0000-7000-8000-000000000000"), b"of no task"]),
    }
}
