//! What every store must do, as stories: the simulated one, SQLite, and each that comes later.
//!
//! A store's tests implement [`Subject`] and run every story of [`for_each_story`](crate::for_each_story).
//! A story sees the store as several nodes do and panics where it breaks a promise. Nothing here sleeps
//! for luck or spawns tasks: time passes through [`Subject::pass`], and callers compete as futures of one
//! task, so the same stories run on virtual time.

pub mod cancelling;
pub mod claims;
pub mod completions;
pub mod counts;
pub mod definitions;
pub mod enqueueing;
pub mod fences;
mod given;
pub mod given_up;
pub mod keys;
pub mod leases;
pub mod node_table;
pub mod order;
pub mod overlaps;
pub mod owners;
pub mod results;
pub mod retention;
pub mod retries;
pub mod scans;
pub mod shares;
pub mod suspects;
pub mod ticks;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::seeds::SeedList;

use crate::queue::TaskQueue;
use crate::store::CatalogueStore;

/// How many nodes share the store in a story: enough to disagree.
pub const NODES: usize = 3;

/// Longer than any story takes: nothing is forgotten in it.
pub const FOREVER: Duration = Duration::from_secs(86_400);

/// A kind of store to be tried.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A fresh and empty store as [`NODES`] nodes see it, each through connections of its own. What has
    /// ended, and lines of the ledger, are forgotten after `keep`; of what has ended no more than `most` are kept.
    async fn fresh_with(&self, keep: Duration, most: u32) -> Vec<Node>;

    /// The same, and any number is kept.
    async fn fresh(&self, keep: Duration) -> Vec<Node> {
        self.fresh_with(keep, u32::MAX).await
    }

    /// Returns when `span` has passed on the store's clock.
    async fn pass(&self, span: Duration);
}

/// One node's way to the store.
#[derive(Clone)]
pub struct Node {
    /// Tasks and ticks.
    pub queue: Arc<dyn TaskQueue>,
    /// Definitions.
    pub catalogue: Arc<dyn CatalogueStore>,
    /// The node table.
    pub seeds: Arc<dyn SeedList>,
}

/// Hands every story to a macro, as `module::story` with commas between.
#[macro_export]
macro_rules! for_each_story {
    ($callback:ident) => {
        $callback! {
            cancelling::a_waiting_task_can_be_taken_back_and_no_other,
            cancelling::a_task_that_ended_badly_can_be_made_ready_again_and_no_other,
            cancelling::a_cancel_and_a_claim_never_both_win,
            claims::competing_claimants_get_every_task_once,
            claims::a_claim_takes_no_more_than_asked_and_tells_all,
            claims::a_queue_gets_its_turn_however_many_have_earlier_names,
            claims::a_claim_takes_of_a_function_what_its_claimant_has_room_for,
            claims::a_claim_ends_before_its_inputs_are_too_long,
            completions::an_end_is_recorded_once_however_many_report_it,
            completions::an_end_of_another_attempt_is_stale,
            completions::a_completion_and_a_lost_lease_never_both_win,
            counts::tasks_are_counted_by_queue_and_state,
            definitions::every_edit_takes_a_higher_revision_and_an_equal_one_changes_nothing,
            definitions::an_edit_of_another_revision_is_refused,
            definitions::of_two_edits_of_one_revision_one_wins,
            definitions::a_function_in_use_stays,
            definitions::what_is_read_after_an_edit_is_all_that_is_there,
            definitions::what_is_not_there_is_said_to_be_missing,
            enqueueing::a_task_is_there_for_every_node,
            enqueueing::the_same_id_again_changes_nothing,
            enqueueing::another_task_under_a_known_id_is_refused,
            enqueueing::a_batch_is_seen_whole_or_not_at_all,
            fences::after_an_edit_no_tick_of_the_old_revision_commits,
            fences::an_edit_that_keeps_the_times_keeps_the_cursor,
            fences::an_edit_of_the_times_starts_at_the_present,
            fences::a_pause_stops_ticks_and_owes_none_afterwards,
            fences::a_schedule_made_anew_never_fires_an_old_due_time,
            fences::a_fence_may_be_repeated_and_a_late_one_changes_nothing,
            fences::a_fence_without_a_standing_begins_at_the_present,
            given_up::what_is_overdue_at_a_pause_is_skipped_and_nothing_is_owed_of_the_pause,
            given_up::what_is_overdue_at_an_edit_of_the_times_is_skipped_by_the_old_times,
            given_up::what_is_overdue_at_an_edit_that_keeps_the_times_stays_owed,
            given_up::what_is_overdue_at_a_deletion_is_skipped_in_the_ledger_that_stays,
            given_up::a_pause_that_ends_by_itself_owes_what_is_due_from_its_end_on,
            given_up::what_is_due_once_is_owed_once_and_again_when_its_time_is_edited,
            keys::tasks_of_one_key_start_one_after_the_other,
            keys::a_retry_and_a_lost_lease_hold_up_their_key,
            keys::a_delayed_task_joins_its_line_when_its_time_comes,
            keys::cancelled_and_expired_tasks_leave_their_line,
            keys::as_many_of_a_key_run_at_once_as_its_function_says,
            keys::the_same_task_again_keeps_its_place_and_its_key,
            keys::a_keys_tasks_are_listed_and_firings_stand_in_line,
            keys::competing_nodes_keep_the_order_of_keys,
            leases::a_renewed_lease_is_kept,
            leases::a_lost_lease_returns_the_task_and_refuses_its_old_worker,
            leases::a_task_whose_lease_was_lost_keeps_its_place,
            leases::too_many_lost_leases_bury_a_task,
            leases::one_of_many_sweepers_returns_a_task,
            leases::leases_of_a_dead_worker_are_taken_away_unless_it_renews,
            node_table::the_latest_rows_come_first,
            node_table::an_old_generation_neither_replaces_nor_removes_a_newer_row,
            order::the_most_urgent_comes_first_then_the_oldest,
            order::a_delayed_task_waits_for_its_time,
            order::a_task_that_nobody_began_in_time_expires,
            order::a_claimant_gets_tasks_of_its_queues_only,
            overlaps::the_policy_decides_while_an_earlier_task_has_not_ended,
            owners::competing_owners_commit_every_due_time_once,
            results::a_result_is_kept_and_lists_do_without_it,
            results::lists_are_filtered_limited_and_newest_first,
            retention::what_has_ended_is_forgotten_and_what_waits_is_not,
            retention::a_backlog_of_ended_tasks_is_worked_off,
            retention::of_too_many_that_have_ended_the_oldest_are_forgotten,
            retries::a_failed_task_comes_back_after_its_pause,
            retries::a_failure_without_a_pause_is_the_end,
            retries::a_task_handed_back_keeps_its_place_and_loses_no_retry,
            scans::a_scan_of_what_nobody_broke_finds_nothing,
            scans::a_scan_goes_on_while_others_work,
            shares::queues_are_served_by_their_weights,
            shares::no_more_tasks_of_a_function_run_than_its_limit_says,
            shares::no_more_tasks_of_a_queue_run_than_its_limit_says,
            suspects::suspects_are_claimed_one_at_a_time,
            suspects::who_has_a_suspect_gets_all_but_suspects,
            ticks::a_firing_moves_the_cursor_writes_the_ledger_and_enqueues,
            ticks::a_run_of_skipped_due_times_is_one_line,
            ticks::a_commit_from_another_cursor_changes_nothing,
            ticks::a_commit_of_another_revision_changes_nothing,
            ticks::a_commit_while_paused_or_deleted_changes_nothing,
            ticks::nothing_is_decided_before_the_last_due_time_has_come,
            ticks::a_commit_that_makes_no_sense_is_refused,
            ticks::the_ledger_is_read_by_range,
        }
    };
}
