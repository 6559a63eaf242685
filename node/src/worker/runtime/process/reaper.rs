//! The thread that waits for the dying, so that no task of the async runtime has to: groups that were
//! killed while their members still unwind, and orphans that escaped from their group.
//!
//! It sleeps unless something is dying or a sweep was asked for.

#![expect(
    clippy::disallowed_methods,
    reason = "part of a seam's implementation: real processes die in real time"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use libc::pid_t;
use parking_lot::{Condvar, Mutex};

use super::group::{FORKING, LEADERS};
use super::orphans::Sweeper;
use super::sys::{self, Waited};

/// The first look after the dead. A killed process is usually gone within a millisecond.
const FIRST_LOOK: Duration = Duration::from_millis(2);

/// Looks become rarer up to this, for a process that hangs in the kernel (a dead network disk).
const RAREST_LOOK: Duration = Duration::from_secs(1);

/// The least pause between two sweeps. Guess: short enough that an escaped process does little, long enough
/// that a node which starts a thousand processes a second does not sweep all day.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

/// Pause earned per `/proc` entry looked at, about 10 us of work each: sweeping stays near 1 % of one core.
const PAUSE_PER_ENTRY: Duration = Duration::from_millis(1);

/// After a sweep that killed something: what that one had started falls to this process now.
const SWEEP_AGAIN: Duration = Duration::from_millis(5);

/// A sweep without being asked, for an orphan that appeared in the shadow of the last one.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How long the thread stays for the dying once the runtime is dropped.
const FAREWELL: Duration = Duration::from_millis(200);

/// The mailbox of the reaper thread. Its size is bounded by the number of live groups.
#[derive(Debug)]
pub(super) struct Reaper {
    work: Mutex<Work>,
    arrived: Condvar,
    sweeping: bool,
}

#[derive(Debug, Default)]
struct Work {
    dying: BTreeSet<Dying>,
    sweep: bool,
    stop: bool,
}

/// What was killed and may not be gone yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dying {
    /// A leader that nobody else will reap, and its group.
    Leader(pid_t),
    /// The group of a leader that is reaped already.
    Rest(pid_t),
}

impl Reaper {
    /// Starts the thread; with `sweeping` it also hunts orphans.
    pub(super) fn start(sweeping: bool) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let reaper = Arc::new(Self { work: Mutex::default(), arrived: Condvar::new(), sweeping });
        let mailbox = Arc::clone(&reaper);
        let sweeper = Sweeper::begin();
        let thread =
            thread::Builder::new().name("beatmesh-reap".into()).spawn(move || mailbox.work(sweeper))?;
        Ok((reaper, thread))
    }

    /// Reaps a killed leader, and then its group, on behalf of somebody who cannot wait for it.
    pub(super) fn bury_leader(&self, leader: pid_t) {
        self.bury(Dying::Leader(leader));
    }

    /// Reaps the members of a killed group whose leader is reaped already.
    pub(super) fn bury_rest(&self, group: pid_t) {
        self.bury(Dying::Rest(group));
    }

    fn bury(&self, dying: Dying) {
        self.work.lock().dying.insert(dying);
        self.arrived.notify_one();
    }

    /// An execution has ended; something of it may have escaped.
    pub(super) fn ask_for_sweep(&self) {
        if self.sweeping && !mem::replace(&mut self.work.lock().sweep, true) {
            self.arrived.notify_one();
        }
    }

    /// Ends the thread after a last look at everything.
    pub(super) fn stop(&self) {
        self.work.lock().stop = true;
        self.arrived.notify_one();
    }

    fn work(&self, sweeper: Sweeper) {
        let mut rounds = Rounds::begin(sweeper);
        loop {
            let (stop, sweep) = self.next_round(&mut rounds);
            if stop {
                return self.last_rounds(rounds);
            }
            rounds.look_after_the_dying();
            if sweep && rounds.sweep() {
                self.work.lock().sweep = true;
            }
        }
    }

    /// Sleeps until there is something to do; says whether to stop, and whether to sweep.
    fn next_round(&self, rounds: &mut Rounds) -> (bool, bool) {
        let mut work = self.work.lock();
        if work.dying.is_empty() && !work.stop {
            let look = (!rounds.dying.is_empty()).then_some(rounds.next_look);
            let sweep = self.sweeping.then(|| rounds.next_sweep(work.sweep));
            match look.into_iter().chain(sweep).min() {
                Some(due) => _ = self.arrived.wait_until(&mut work, due),
                None => self.arrived.wait(&mut work),
            }
        }
        rounds.take(&mut work.dying);
        let sweep = self.sweeping && rounds.next_sweep(work.sweep) <= Instant::now();
        if sweep {
            work.sweep = false;
        }
        (work.stop, sweep)
    }

    /// Before the thread ends: whatever can be settled within [`FAREWELL`].
    fn last_rounds(&self, mut rounds: Rounds) {
        let leave_by = Instant::now() + FAREWELL;
        loop {
            rounds.take(&mut self.work.lock().dying);
            rounds.look_after_the_dying();
            let again = self.sweeping && rounds.sweep();
            if (!again && rounds.dying.is_empty()) || Instant::now() >= leave_by {
                return;
            }
            thread::sleep(FIRST_LOOK);
        }
    }
}

/// What the thread has in hand, and when it acts next.
struct Rounds {
    dying: BTreeSet<Dying>,
    look_pause: Duration,
    next_look: Instant,
    sweep_not_before: Instant,
    sweep_by: Instant,
    sweeper: Sweeper,
}

impl Rounds {
    fn begin(sweeper: Sweeper) -> Self {
        let now = Instant::now();
        Self {
            dying: BTreeSet::new(),
            look_pause: FIRST_LOOK,
            next_look: now,
            sweep_not_before: now,
            sweep_by: now + SWEEP_EVERY,
            sweeper,
        }
    }

    fn take(&mut self, dying: &mut BTreeSet<Dying>) {
        if !dying.is_empty() {
            self.dying.append(dying);
            (self.look_pause, self.next_look) = (FIRST_LOOK, Instant::now());
        }
    }

    fn look_after_the_dying(&mut self) {
        if !self.dying.is_empty() && Instant::now() >= self.next_look {
            self.dying = mem::take(&mut self.dying).into_iter().filter_map(look_after).collect();
            self.next_look = Instant::now() + self.look_pause;
            self.look_pause = (self.look_pause * 2).min(RAREST_LOOK);
        }
    }

    fn next_sweep(&self, asked: bool) -> Instant {
        if asked { self.sweep_not_before } else { self.sweep_by }
    }

    /// Whether another sweep is due: something was killed, or left in doubt.
    fn sweep(&mut self) -> bool {
        let groups = self.dying.iter().map(|dying| match dying {
            Dying::Leader(group) | Dying::Rest(group) => *group,
        });
        let swept = self.sweeper.sweep(&groups.collect());
        let killed = swept.killed > 0;
        let pause = if killed { SWEEP_AGAIN } else { SWEEP_PAUSE.max(PAUSE_PER_ENTRY * swept.looked_at) };
        self.sweep_not_before = Instant::now() + pause;
        self.sweep_by = self.sweep_not_before + SWEEP_EVERY;
        killed || self.sweeper.is_in_doubt()
    }
}

/// Reaps what has died; returns what there is still to wait for.
fn look_after(dying: Dying) -> Option<Dying> {
    // While no fork is under way, a group id is either still ours or registered by its new owner.
    let _no_fork = FORKING.lock();
    let group = match dying {
        Dying::Leader(leader) => {
            let mut leaders = LEADERS.lock();
            if let Waited::Alive = sys::reap(leader) {
                return Some(dying);
            }
            leaders.remove(&leader);
            leader
        }
        // The id belongs to a new leader, so nobody of the old group is left.
        Dying::Rest(group) if LEADERS.lock().contains_key(&group) => return None,
        Dying::Rest(group) => group,
    };
    loop {
        match sys::reap_one_of_group(group) {
            Waited::Ended(_) => {}
            Waited::Alive => return Some(Dying::Rest(group)),
            Waited::NoChild => return None,
        }
    }
}
