//! The Beat: fires schedules. Every node has one; the ring says which acts first, the store decides
//! which one commits.
//!
//! ```text
//! catalogue ──┐                         ┌──> TaskQueue::commit_tick
//! ring ───────┤  Event          Action  │
//! timers ─────┼────────> Plan ──────────┼──> TaskQueue::schedule_states
//! TaskQueue ──┘   on_event(now, ..)     └──> one timer
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`timetable`] | a cron text in a time zone, as due times |
//! | [`jitter`] | the moment at which a due time is fired |
//! | [`pauses`] | which pauses end by themselves |
//! | [`pending`] | which passed due times fire and which are skipped |
//! | [`fence`] | what an edit makes of a schedule's cursor, and which due times it gives up |
//! | [`plan`] | who acts when; the state machine |
//! | [`driver`] | the loop around a plan; the only file here that does IO |
//!
//! All but the driver is pure: no clock, no dice, no IO. The driver owns those, and nothing else: it
//! takes no decision. One task drives one plan, in a loop over whatever happens next.
//!
//! # What the driver does
//! - **Clock.** Every event carries `now`, the *store's* clock: monotonic time plus an offset measured
//!   with `TaskQueue::now` (and with `store_now` of every `TooEarly`, *before* that answer is handed
//!   in). After it corrected the offset it sends [`plan::Event::TimerFired`], and is told anew when to
//!   wake, since a wake is a point of the store's time.
//! - **Catalogue.** At each change it hands in all schedules; it builds a [`plan::PlannedSchedule`] once
//!   per revision (timetables from [`timetable::Timetables`]) and keeps the `Arc`s. A schedule that
//!   cannot be parsed is left out and reported: it was refused at the door, so this is a newer version's.
//! - **Standing.** From the ring's rank for the key `beat`, frozen rings ignored;
//!   [`plan::Standing::Out`] while draining, without the role, or when the store is out of reach.
//!   Equal standings in a row are harmless.
//! - **Pauses.** When its own timer came much too late: first [`plan::Event::PauseNoticed`], then
//!   whatever else has come meanwhile. Commits that it holds but has not sent are not sent; they end as
//!   `Unavailable`.
//! - **Actions.** Each commit and each read is answered exactly once, by a result or, after a time
//!   limit of the driver's, by [`StoreError::Unknown`](crate::queue::StoreError::Unknown): a plan waits
//!   for ever for an answer that never comes. At most [`plan::MOST_IN_FLIGHT`] commits and one current
//!   read are under way, so the driver's own queue needs no other bound. Only the latest
//!   [`plan::Action::WakeAt`] counts; a stale wake is harmless, one in the past means "as soon as other
//!   facts have been handed in".
//! - **Dice.** A number in 0..=1 from the node's entropy with each result.
//!
//! A `Committed` result, before it is handed in, is also where the driver counts firings, lateness
//! (from the moment at which the last one was to be fired) and wakes the workers of the queue.
//!
//! - **Pauses.** Those that end by themselves are ended in the catalogue when their time has come, later by this
//!   node's delay. A plan knows nothing of them: it sees a schedule that is enabled again.
//! - **Report.** Told to people, at most once for each time that the store went back.
//!
//! A simulator drives thousands of plans the same way: a plan is a value, costs nothing while nothing
//! is due, and the catalogue's `Arc`s are shared between all of them.
//!
//! # What a store must do
//! `commit_tick` compares revision, `enabled` and cursor, and refuses as `TooEarly` when **any**
//! decision's due time, that is the *last* one's, lies more than
//! [`EARLIEST_MS`](crate::queue::tick::EARLIEST_MS) in its future: a node whose clock is ahead may ask
//! for passed and future due times in one commit, and checking the first alone would fire early.

pub mod driver;
pub mod fence;
pub mod jitter;
pub mod pauses;
pub mod pending;
pub mod plan;
pub mod repair;
pub mod tally;
pub mod timetable;
mod told;
