//! Faults as they begin and end: the one place that knows what each kind does to the world.

use crate::epochs::Remembered;
use crate::faults::{Fault, FaultKind, Group, Links, Target, Trouble, Twin};
use crate::history::Event;
use crate::world::clock::ClockError;
use crate::world::files::DISK_FAILED;
use crate::world::node::Ended;

use super::stage::{Backup, Running, Stage};

impl Stage<'_> {
    pub(super) fn begin(&mut self, number: usize) {
        let fault = self.faults[number].fault;
        let met = self.copy_of(number).into_iter().fold(self.met(fault.kind), Group::with);
        self.faults[number].met = met;
        self.faults[number].hindered = !self.all_run(met);
        self.tell(number, |fault, number, kind, nodes| Event::FaultBegan { fault, number, kind, nodes });
        let now = self.sim.elapsed();
        match fault.kind {
            FaultKind::Crash(_) | FaultKind::PowerCut(_) | FaultKind::Move(_) | FaultKind::Disk(..) => {
                self.crash(number);
            }
            FaultKind::Leave(_) => {
                let up = Group::of(&met.nodes().filter(|node| self.is_up(*node)).collect::<Vec<_>>());
                self.faults[number].taken = up;
                up.nodes().for_each(|node| self.world.nodes[node].ask_to_leave());
            }
            FaultKind::Pause(_) => {
                let gates = met.nodes().map(|node| self.world.nodes[node].gate().stopped());
                self.faults[number].stopped_before = gates.sum();
                for node in met.nodes() {
                    self.world.nodes[node].gate().hold(number);
                    self.record_of(node, |node| Event::Paused { node });
                }
            }
            FaultKind::Clone(_, twin) => self.copy(number, twin),
            FaultKind::Network(links, harm) => {
                self.world.weather.begin(number, links, harm, met, now);
                self.tell_ways(number, links, harm.loses(), met);
            }
            FaultKind::Store(_, trouble) => {
                for node in met.nodes().map(|node| &self.world.nodes[node]) {
                    node.line.begin(number, trouble);
                    node.queue_line.begin(number, trouble);
                }
            }
            FaultKind::StoreClock(off_ms) => {
                self.world.store.state().misset(number, off_ms);
                self.world.redis.iter().for_each(|redis| redis.misset(number, off_ms));
            }
            // Of two at once the first one counts.
            FaultKind::StoreForgets if self.backup.is_some() => {}
            FaultKind::StoreForgets => {
                let backup = match &self.world.redis {
                    None => Backup::Store(Box::new(self.world.store.state().clone())),
                    Some(redis) => Backup::Redis(redis.snapshot()),
                };
                self.backup = Some((number, backup));
            }
            FaultKind::QueueFailsOver(_)
            | FaultKind::QueueAway(_)
            | FaultKind::QueueEmptied
            | FaultKind::QueueFull
            | FaultKind::QueueDamaged => self.harm_queue(fault.kind),
            FaultKind::ClockJump(_, by_ms) => self.misset(met, number, ClockError::Jump(by_ms)),
            FaultKind::ClockDrift(_, gain_ms) => self.misset(met, number, ClockError::Drift(gain_ms)),
        }
    }

    pub(super) fn end(&mut self, number: usize) {
        let Running { fault: Fault { kind, .. }, met, hindered, .. } = self.faults[number];
        let took_effect = match kind {
            FaultKind::Crash(_)
            | FaultKind::PowerCut(_)
            | FaultKind::Move(_)
            | FaultKind::Disk(..)
            | FaultKind::Leave(_) => self.restart(number),
            FaultKind::Pause(_) => {
                let mut stopped = 0;
                for node in met.nodes() {
                    let gate = self.world.nodes[node].gate();
                    stopped += gate.stopped();
                    gate.release(number);
                    self.record_of(node, |node| Event::Resumed { node });
                }
                stopped > self.faults[number].stopped_before || hindered
            }
            FaultKind::Clone(..) => self.switch_copy_off(number),
            FaultKind::Network(..) => {
                let harmed = self.world.weather.end(number);
                harmed > 0 || hindered || !self.all_run(met)
            }
            FaultKind::Store(_, trouble) => {
                let nodes = met.nodes().map(|node| &self.world.nodes[node]);
                let ended: u64 = nodes.map(|node| node.line.end(number) + node.queue_line.end(number)).sum();
                let may_miss = !matches!(trouble, Trouble::Once(..)) && (hindered || !self.all_run(met));
                ended > 0 || may_miss
            }
            FaultKind::StoreClock(_) => {
                let of_redis = self.world.redis.as_ref().map(|redis| redis.set_right(number));
                self.world.store.state().set_right(number) + of_redis.unwrap_or(0) > 0
            }
            FaultKind::StoreForgets => self.forget(number),
            FaultKind::QueueFailsOver(_)
            | FaultKind::QueueAway(_)
            | FaultKind::QueueEmptied
            | FaultKind::QueueFull
            | FaultKind::QueueDamaged => self.heal_queue(kind),
            FaultKind::ClockJump(..) | FaultKind::ClockDrift(..) => {
                let ended = met.nodes().map(|node| self.world.nodes[node].wall.end(number));
                ended.sum::<u64>() > 0 || hindered || !self.all_run(met)
            }
        };
        self.faults[number].took_effect |= took_effect;
        self.tell(number, |fault, number, kind, nodes| Event::FaultEnded { fault, number, kind, nodes });
    }

    /// Ends the processes of nodes that have left as they were asked to.
    pub(super) fn end_those_that_left(&mut self) {
        for node in 0..self.world.nodes.len() {
            if self.world.nodes[node].has_left() {
                for running in &mut self.faults {
                    if matches!(running.fault.kind, FaultKind::Leave(_)) && running.taken.has(node) {
                        running.took_effect = true;
                    }
                }
                self.end_process(node, "leave");
            }
        }
    }

    fn crash(&mut self, number: usize) {
        let Running { fault, met, .. } = self.faults[number];
        let beat = self.believed_beat();
        let mut taken = Vec::new();
        for node in met.nodes() {
            let name = self.world.nodes[node].name.clone();
            if !self.sim.is_host_running(name.as_str()) {
                continue;
            }
            taken.push(node);
            if beat == Some(node) {
                self.effects.beat_crashes.push(self.world.history.now());
            }
            self.end_process(node, fault.kind.as_str());
            match fault.kind {
                FaultKind::PowerCut(_) => drop(self.world.nodes[node].disk.lose_last_writes()),
                FaultKind::Move(_) => self.world.nodes[node].change_address(),
                _ => {}
            }
        }
        // A process that has just ended by itself cannot be ended.
        let has_gone = met.nodes().any(|node| self.starting.has(node));
        self.faults[number].taken = Group::of(&taken);
        // That of a disk comes when the process starts again.
        let is_done = !taken.is_empty() && !matches!(fault.kind, FaultKind::Disk(..));
        self.faults[number].took_effect = is_done || has_gone;
    }

    /// The store is again what it was when the fault began; answers whether anything was
    /// lost.
    fn forget(&mut self, number: usize) -> bool {
        let Some((_, earlier)) = self.backup.take_if(|(fault, _)| *fault == number) else { return false };
        match earlier {
            Backup::Store(earlier) => {
                self.world.store.state().go_back_to(*earlier);
                self.world.history.record(Event::StoreForgot { number });
            }
            Backup::Redis(earlier) => self.restore_queue(earlier),
        }
        Remembered::of(&self.world.history.records()).lost > 0
    }

    /// Processes that have ended by themselves are started again by their machines, if a fault explains the
    /// end.
    ///
    /// # Errors
    /// Nothing explains it.
    pub(super) fn restart_those_that_ended(&mut self) -> Result<(), String> {
        for node in 0..self.world.nodes.len() {
            let Some(ended) = self.world.nodes[node].take_ended() else { continue };
            if !self.explain(node, &ended) {
                return Err(format!("node {} has ended: {ended}", self.world.nodes[node].name));
            }
            self.end_process(node, ended.as_str());
            self.start_later(node);
        }
        Ok(())
    }

    /// Whether a fault that met the node explains its end.
    fn explain(&mut self, node: usize, ended: &Ended) -> bool {
        let explains = |running: &Running| match (running.fault.kind, ended) {
            // Once, and nothing else that a start may fail of.
            (FaultKind::Disk(..), Ended::StartFailed(why)) => {
                !running.took_effect && why.contains(DISK_FAILED)
            }
            // The count of its starts may be what the disk has lost. Where it begins the same generation again,
            // nobody else runs, and the process waits until that is known.
            (FaultKind::PowerCut(_), Ended::Outdated(_)) => true,
            // One of the two has to go.
            (FaultKind::Clone(..), Ended::Outdated(_) | Ended::IdentityTaken(_)) => true,
            _ => false,
        };
        let mut is_explained = *ended == Ended::Killed;
        for running in &mut self.faults {
            if running.met.has(node) && explains(running) {
                (running.took_effect, is_explained) = (true, true);
            }
        }
        is_explained
    }

    /// The machine starts its process again.
    pub(super) fn start(&mut self, node: usize) {
        self.starting = self.starting.without(node);
        let name = self.world.nodes[node].name.clone();
        if !self.sim.is_host_running(name.as_str()) && !self.retired.has(node) {
            self.world.weather.set_down(node, false);
            self.sim.bounce(name.as_str());
        }
    }

    /// Starts what this fault took down; answers whether that was anything.
    fn restart(&mut self, number: usize) -> bool {
        let Running { fault, taken, took_effect, .. } = self.faults[number];
        for node in taken.nodes() {
            let name = self.world.nodes[node].name.clone();
            if self.sim.is_host_running(name.as_str()) {
                if !matches!(fault.kind, FaultKind::Leave(_)) {
                    continue;
                }
                // It takes longer to leave than it was given: whoever asked has no more patience.
                self.end_process(node, "crash");
            }
            if let FaultKind::Disk(_, operations) = fault.kind {
                self.world.nodes[node].disk.fail_after(operations);
            }
            self.start(node);
        }
        took_effect
    }

    fn end_process(&mut self, node: usize, how: &'static str) {
        let name = self.world.nodes[node].name.clone();
        if self.world.has_kin() {
            self.world.nodes[node].tell_refusals(&self.world);
        }
        self.sim.crash(name.as_str());
        self.world.nodes[node].died();
        self.world.weather.set_down(node, true);
        self.world.history.record(Event::NodeDown { node: name, how });
    }

    /// The spare machine that this fault puts a copy on, if it does: each has one of its own.
    fn copy_of(&self, number: usize) -> Option<usize> {
        let copies = |running: &&Running| matches!(running.fault.kind, FaultKind::Clone(..));
        let earlier = self.faults[..number].iter().filter(copies).count();
        Some(self.world.spares + earlier).filter(|_| copies(&&self.faults[number]))
    }

    fn copy(&mut self, number: usize, twin: Twin) {
        let Some(machine) = self.copy_of(number) else { return };
        let met = self.faults[number].met.without(machine);
        for node in met.nodes() {
            let [of, copy] = [node, machine].map(|node| self.world.nodes[node].clone());
            copy.become_copy(&of, twin);
            self.world.history.record(Event::Cloned { machine: copy.name.clone(), of: of.id() });
        }
        self.start(machine);
    }

    /// Answers whether it was up: where the node was away all the time, nobody had to go.
    fn switch_copy_off(&mut self, number: usize) -> bool {
        let Some(machine) = self.copy_of(number) else { return false };
        let was_up = self.is_up(machine);
        self.retired = self.retired.with(machine);
        if self.sim.is_host_running(self.world.nodes[machine].name.as_str()) {
            self.end_process(machine, "clone");
        }
        was_up
    }

    fn misset(&self, met: Group, number: usize, error: ClockError) {
        let now = self.sim.elapsed();
        met.nodes().for_each(|node| self.world.nodes[node].wall.begin(number, error, now));
    }

    fn is_up(&self, node: usize) -> bool {
        self.world.nodes[node].is_up()
    }

    /// Whether all of these are up and none is stopped.
    fn all_run(&self, nodes: Group) -> bool {
        nodes.nodes().all(|node| self.is_up(node) && !self.world.nodes[node].gate().is_held())
    }

    fn tell_ways(&self, number: usize, links: Links, percent: u8, met: Group) {
        let all = 0..self.world.nodes.len();
        let ways = all.clone().flat_map(|from| all.clone().map(move |to| (from, to)));
        let ways = ways.filter(|(from, to)| from != to && percent > 0 && links.mean(*from, *to, met));
        let name = |node: usize| self.world.nodes[node].name.clone();
        let ways: Vec<_> = ways.map(|(from, to)| (name(from), name(to))).collect();
        if !ways.is_empty() {
            self.world.history.record(Event::WaysLossy { number, percent, ways });
        }
    }

    fn record_of(&self, node: usize, event: impl FnOnce(String) -> Event) {
        self.world.history.record(event(self.world.nodes[node].name.clone()));
    }

    fn tell(&self, number: usize, event: impl FnOnce(String, usize, &'static str, Vec<String>) -> Event) {
        let Running { fault, met, .. } = self.faults[number];
        let nodes: Vec<_> = met.nodes().map(|node| self.world.nodes[node].name.clone()).collect();
        let text = format!("{} ({})", fault.kind, nodes.join(", "));
        self.world.history.record(event(text, number, fault.kind.as_str(), nodes));
    }

    /// The nodes that a fault means now.
    fn met(&self, kind: FaultKind) -> Group {
        let all = || Group::first(self.world.nodes.len());
        match kind {
            FaultKind::Crash(target)
            | FaultKind::PowerCut(target)
            | FaultKind::Move(target)
            | FaultKind::Disk(target, _)
            | FaultKind::Pause(target)
            | FaultKind::Leave(target)
            | FaultKind::Clone(target, _)
            | FaultKind::Store(target, _)
            | FaultKind::ClockJump(target, _)
            | FaultKind::ClockDrift(target, _)
            | FaultKind::Network(Links::Of(target), _) => self.nodes(target),
            FaultKind::Network(Links::Between(a, b) | Links::OneWay(a, b), _) => Group::of(&[a, b]),
            FaultKind::Network(Links::Across(side) | Links::Bridged(side, _), _) => side,
            FaultKind::Network(Links::All, _)
            | FaultKind::StoreClock(_)
            | FaultKind::StoreForgets
            | FaultKind::QueueFailsOver(_)
            | FaultKind::QueueAway(_)
            | FaultKind::QueueEmptied
            | FaultKind::QueueFull
            | FaultKind::QueueDamaged => all(),
        }
    }

    fn nodes(&self, target: Target) -> Group {
        match target {
            Target::Node(index) => Group::of(&[index]),
            // Nobody up to ask: any node will do.
            Target::BeatOwner => Group::of(&[self.believed_beat().unwrap_or(0)]),
            Target::Observer => Group::of(&[usize::from(self.believed_beat().unwrap_or(0) == 0)]),
            Target::AllButBeat => Group::first(self.world.spares).without(self.believed_beat().unwrap_or(0)),
            Target::Group(group) => group,
        }
    }
}
