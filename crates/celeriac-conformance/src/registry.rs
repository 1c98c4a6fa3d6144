//! The list of all cases: the one place that says what each needs.

use crate::run::{Has, Run};

/// One case of the suite.
pub struct Case {
    /// Its group and name, as in `leases::renewal_keeps_a_delivery`.
    pub path: &'static str,
    pub(crate) seam: Seam,
    pub(crate) needs: &'static [Need],
    pub(crate) run: Run,
}

/// The seam without which a case says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seam {
    Broker,
    Results,
    History,
}

/// A capability without which a case says nothing.
pub(crate) struct Need {
    pub(crate) name: &'static str,
    pub(crate) has: Has,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?}, needs {:?})", self.path, self.seam, self.needs)
    }
}

/// All cases, in the order of the list.
///
/// ```
/// assert!(celeriac_conformance::cases().len() > 70);
/// ```
pub fn cases() -> &'static [Case] {
    CASES
}

/// Hands the list of cases to another macro: group, case, its seam, and the capabilities it needs.
#[doc(hidden)]
#[macro_export]
macro_rules! __cases {
    ($callback:ident $context:tt) => {
        $crate::$callback! {
            $context
            ordering {
                earlier_messages_come_first: Broker [];
                a_batch_keeps_its_order: Broker [];
                two_processes_stand_in_one_line: Broker [];
                higher_priorities_come_first: Broker [priority];
                priorities_reach_from_0_to_255: Broker [priority];
                arrival_decides_within_a_priority: Broker [priority];
                a_late_urgent_message_overtakes: Broker [priority];
                a_busy_queue_starves_no_other: Broker [];
                urgent_messages_of_one_queue_starve_no_other: Broker [priority];
                single_deliveries_take_turns_among_queues: Broker [];
                a_consumer_gets_from_its_queues_only: Broker [];
                recv_gives_no_more_than_its_limit: Broker [];
                recv_gives_several_at_once: Broker [];
                an_empty_batch_is_published: Broker [];
                a_delivery_carries_what_was_published: Broker [];
                the_same_task_id_may_wait_twice: Broker [];
                answers_come_in_the_order_of_the_batch: Broker [unique];
            }
            racing {
                two_consumers_get_each_message_once: Broker [];
                eight_consumers_get_each_message_once: Broker [];
                consumers_of_two_processes_get_each_message_once: Broker [];
                publishers_at_once_lose_nothing: Broker [];
            }
            waiting {
                recv_waits_for_a_message: Broker [];
                recv_is_woken_by_another_process: Broker [];
                every_waiting_consumer_is_woken: Broker [];
                recv_is_woken_by_a_requeue: Broker [];
                recv_is_woken_by_a_close: Broker [];
                recv_is_woken_by_a_due_time: Broker [delay];
                recv_is_woken_by_the_end_of_a_lease: Broker [lease];
                recv_is_woken_by_the_end_of_a_later_lease: Broker [lease];
                recv_is_woken_by_a_replay: Broker [dead_set];
                close_ends_a_waiting_recv: Broker [];
                two_recvs_of_one_consumer_share: Broker [];
                a_dropped_recv_loses_nothing: Broker [];
                dropped_recvs_of_two_consumers_lose_nothing: Broker [];
            }
            leases {
                an_unsettled_delivery_comes_back: Broker [lease];
                everything_a_lost_consumer_held_comes_back: Broker [lease];
                nothing_comes_back_before_the_lease_is_over: Broker [lease];
                each_loss_is_counted: Broker [lease];
                who_did_not_begin_is_suspected_once_and_never_more: Broker [lease];
                who_began_and_was_handed_back_begins_anew: Broker [lease];
                a_run_that_is_lost_counts_though_its_worker_lives: Broker [lease];
                renewal_keeps_a_delivery: Broker [lease];
                renewal_covers_what_is_not_named: Broker [lease];
                a_claim_has_a_full_lease: Broker [lease];
                a_late_claim_prolongs_what_is_held: Broker [lease];
                a_lapsed_consumer_can_go_on: Broker [lease];
                extend_reports_what_was_lost: Broker [lease];
                extend_tells_lost_from_held: Broker [lease];
                a_restarted_worker_does_not_keep_the_dead_ones_deliveries: Broker [lease];
                a_lost_delivery_cannot_be_settled: Broker [lease];
                an_old_attempt_settles_nothing_at_the_holder_of_the_new_one: Broker [lease];
                another_ones_delivery_cannot_be_settled: Broker [lease];
                a_second_settlement_is_stale: Broker [lease];
                an_unknown_tag_is_stale: Broker [lease];
                a_late_settlement_settles_or_the_delivery_comes_back: Broker [lease];
                what_comes_back_comes_before_later_arrivals: Broker [lease];
                leases_end_one_by_one: Broker [lease];
            }
            settling {
                an_acknowledged_message_is_gone: Broker [];
                a_requeued_message_goes_to_the_front: Broker [];
                requeued_messages_keep_their_order: Broker [];
                a_requeued_message_keeps_its_priority: Broker [priority];
                requeueing_counts_an_attempt_and_no_loss: Broker [];
                close_hands_back_at_once_and_counts_no_loss: Broker [];
                what_close_hands_back_goes_to_the_front: Broker [];
                answers_come_in_the_order_of_the_settlements: Broker [];
                one_batch_settles_in_every_way: Broker [park, dead_set];
                an_empty_batch_is_settled: Broker [];
                thousands_are_settled_at_once: Broker [];
            }
            parking {
                a_due_publication_waits: Broker [park, delay];
                a_publication_due_in_the_past_comes_at_once: Broker [park, delay];
                due_messages_come_in_the_order_of_their_due_times: Broker [park, delay];
                messages_due_at_once_come_in_the_order_of_arrival: Broker [park, delay];
                due_messages_keep_their_priority: Broker [park, delay, priority];
                a_parked_delivery_waits_for_its_instant: Broker [park, delay];
                a_delivery_is_parked_with_other_bytes: Broker [park, delay];
                a_delivery_parked_until_the_past_comes_at_once: Broker [park, delay];
                the_far_future_can_be_waited_for: Broker [park, delay];
                what_is_parked_outlives_its_consumer: Broker [park, lease];
                a_parked_message_can_be_parked_again: Broker [park, delay];
                thousands_become_due_at_once: Broker [park, delay];
            }
            dead {
                a_dead_message_keeps_its_reason_and_bytes: Broker [dead_set];
                every_reason_is_kept: Broker [dead_set];
                the_dead_are_listed_newest_first_in_pages: Broker [dead_set];
                the_dead_are_found_by_queue_task_and_id: Broker [dead_set];
                a_replayed_message_runs_again: Broker [dead_set];
                losses_begin_anew_after_a_replay: Broker [dead_set, lease];
                a_message_is_replayed_with_edited_bytes: Broker [dead_set];
                edited_bytes_are_for_one_entry: Broker [dead_set];
                several_are_replayed_and_the_unknown_not_counted: Broker [dead_set];
                dropped_dead_messages_are_gone: Broker [dead_set];
                a_message_that_never_was_a_delivery_is_buried: Broker [dead_set];
                another_process_sees_and_replays_the_dead: Broker [dead_set];
            }
            looking {
                declared_queues_are_known: Broker [];
                queues_come_to_be_by_publishing: Broker [];
                depth_answers_for_each_queue_in_order: Broker [];
                depth_counts_every_state: Broker [delay, dead_set];
                depth_tells_how_long_the_oldest_waits: Broker [priority];
                peek_shows_without_taking: Broker [peek];
                peek_tells_states_apart: Broker [peek, delay];
                peek_sees_what_has_become_due_as_ready: Broker [peek, delay];
                peek_filters: Broker [peek];
                peek_pages_through_everything: Broker [peek];
                one_listing_has_a_thousand_entries_at_the_most: Broker [peek];
                purge_removes_what_waits: Broker [delay];
                purge_leaves_the_dead: Broker [dead_set];
                an_unknown_queue_is_purged_of_nothing: Broker [];
                what_is_published_after_a_purge_stays: Broker [];
                consumers_are_listed: Broker [consumers];
                each_start_of_a_worker_has_an_identity: Broker [consumers];
                a_closed_consumer_is_not_listed: Broker [consumers];
                a_consumer_is_listed_as_long_as_it_renews: Broker [consumers, lease];
            }
            uniqueness {
                a_taken_key_names_its_task: Broker [unique];
                a_key_is_free_when_its_window_has_passed: Broker [unique];
                a_refused_publication_does_not_prolong_the_window: Broker [unique];
                a_key_stays_taken_when_its_task_is_done: Broker [unique];
                a_key_counts_in_every_queue_and_process: Broker [unique];
                racing_publications_of_a_key_have_one_winner: Broker [unique];
                a_key_is_compared_byte_by_byte: Broker [unique];
                an_overlong_key_is_refused: Broker [unique];
            }
            revoking {
                a_waiting_task_comes_with_the_fact: Broker [revocation];
                a_task_can_be_revoked_before_it_is_sent: Broker [revocation];
                a_parked_task_comes_with_the_fact: Broker [revocation, delay];
                a_renewal_tells_of_a_running_tasks_revocation: Broker [revocation, lease];
                only_the_attempt_that_is_meant_is_revoked: Broker [revocation, lease];
                a_later_revocation_replaces_an_earlier_one: Broker [revocation];
                revocations_are_looked_up_in_order: Broker [revocation];
                a_revocation_is_forgotten_when_it_expires: Broker [revocation, lease];
            }
            broadcasts {
                a_listener_hears_what_is_sent_in_order: Broker [fan_out];
                a_waiting_listener_is_woken: Broker [fan_out];
                every_listener_hears_everything: Broker [fan_out];
                a_listener_begins_now: Broker [fan_out];
                channels_are_apart: Broker [fan_out];
                a_broadcast_without_listeners_is_no_error: Broker [fan_out];
                a_broadcast_may_be_empty_or_no_text: Broker [fan_out];
                a_notice_says_what_it_is_about: Broker [fan_out];
                a_listener_may_hear_one_routing_key_alone: Broker [fan_out];
                a_dropped_recv_misses_nothing: Broker [fan_out];
                a_listener_continues_after_a_cursor: Broker [fan_out, replay];
                a_listener_can_begin_at_the_beginning: Broker [fan_out, replay];
                a_channel_without_a_name_is_refused: Broker [fan_out];
            }
            subscribing {
                other_queues_are_served_from_now_on: Broker [];
                what_is_held_of_a_queue_that_is_left_stays_held: Broker [lease];
                a_waiting_recv_hears_of_the_new_queues: Broker [];
                without_queues_nothing_comes_until_there_are_some: Broker [];
                the_store_shows_the_queues_that_are_served_now: Broker [consumers];
            }
            bodies {
                a_body_of_a_mebibyte_goes_through: Broker [];
                an_empty_message_goes_through: Broker [];
                bytes_that_are_no_text_go_through: Broker [peek, dead_set];
                a_message_at_the_limit_goes_through: Broker [];
                a_message_beyond_the_limit_is_refused_with_its_batch: Broker [];
                a_delivery_is_not_parked_with_too_many_bytes: Broker [park];
                strange_names_are_only_names: Broker [peek, dead_set];
                names_of_the_longest_kind_go_through: Broker [];
                names_differ_by_case_and_accent: Broker [];
                consuming_from_nowhere_is_refused: Broker [];
            }
            closing {
                a_consumer_is_closed_twice: Broker [];
                a_closed_consumer_holds_nothing: Broker [];
                a_consumer_goes_down_with_its_broker: Broker [];
                closing_a_broker_ends_its_waiting_recvs: Broker [];
                calls_after_a_close_fail_at_once: Broker [];
                one_process_closes_and_another_goes_on: Broker [];
                results_are_closed_twice_and_then_fail: Results [];
                closing_ends_a_waiting_wait: Results [];
            }
            results {
                a_stored_record_is_fetched: Results [];
                records_are_fetched_in_order: Results [];
                a_later_state_replaces_an_earlier_one: Results [];
                a_success_is_never_overwritten: Results [];
                an_older_attempt_changes_nothing: Results [];
                a_retry_may_succeed: Results [];
                a_failed_task_may_run_again: Results [];
                answers_come_in_the_order_of_the_writes: Results [];
                racing_writers_leave_one_success: Results [];
                thousands_are_stored_at_once: Results [];
                a_document_may_be_any_bytes: Results [];
                a_wait_is_over_when_the_task_is: Results [push_wait];
                a_wait_for_what_is_over_ends_at_once: Results [];
                a_wait_goes_on_through_states_that_are_not_the_end: Results [push_wait];
                everybody_who_waits_is_told: Results [push_wait];
                a_dropped_wait_harms_no_other: Results [push_wait];
                an_expired_record_is_not_there: Results [];
                expiring_removes_what_has_expired: Results [];
                a_rewritten_record_expires_anew: Results [];
                a_forgotten_record_is_gone: Results [];
                a_wait_outlives_forgetting: Results [push_wait];
            }
            chords {
                the_last_part_completes: Results [];
                a_chord_of_one_completes_at_once: Results [];
                parts_come_in_the_order_of_the_header: Results [];
                parts_without_a_place_come_last: Results [];
                a_member_counts_once: Results [];
                parts_may_come_before_the_size_is_said: Results [];
                a_repeated_part_completes_what_began_late: Results [];
                beginning_twice_changes_nothing: Results [];
                the_member_that_claimed_claims_again: Results [];
                one_caller_claims_the_body: Results [];
                a_claim_that_is_not_kept_goes_to_the_next: Results [];
                a_finished_chord_stays_finished: Results [];
                a_failed_part_counts_as_what_it_is: Results [];
                chords_are_apart: Results [];
                racing_members_complete_once: Results [];
                racing_repeats_complete_for_one_member: Results [];
                an_expired_chord_is_removed: Results [];
                parts_may_be_large_and_no_text: Results [];
            }
            history {
                a_record_is_kept_with_every_field: History [];
                the_cursor_moves_with_what_is_folded: History [];
                whoever_is_second_changes_nothing: History [];
                a_record_replaces_the_one_before: History [];
                a_timeline_tells_what_happened_in_order: History [];
                a_timeline_has_the_last_thousand_entries: History [];
                tasks_are_listed_last_heard_of_first: History [];
                tasks_are_listed_in_pages: History [];
                tasks_are_found_by_what_they_are: History [];
                a_search_looks_into_the_texts_in_any_case: History [];
                a_search_is_for_text_and_not_a_pattern: History [];
                records_are_counted_by_state: History [];
                pruning_removes_what_is_old: History [];
            }
            durable {
                messages_survive_the_end_of_every_process: Broker [durable, priority, delay, dead_set];
                acknowledged_messages_stay_gone: Broker [durable];
                facts_survive_the_end_of_every_process: Broker [durable, unique, revocation];
                results_survive_the_end_of_every_process: Results [durable];
            }
            model {
                random_steps_agree_with_the_model: Broker [priority, delay, park, lease, dead_set];
            }
        }
    };
}

/// Makes the table behind [`cases`].
#[doc(hidden)]
#[macro_export]
macro_rules! __table {
    ([] $($group:ident { $($case:ident: $seam:ident [$($need:ident),*];)* })*) => {
        static CASES: &[Case] = &[
            $($(Case {
                path: concat!(stringify!($group), "::", stringify!($case)),
                seam: Seam::$seam,
                needs: &[$(Need { name: stringify!($need), has: |declared| declared.$need }),*],
                run: |bench| Box::pin($crate::cases::$group::$case(bench)),
            },)*)*
        ];
    };
}

/// Makes one `#[test]` a case.
#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$fixture:ident] $($group:ident { $($case:ident: $seam:ident [$($need:ident),*];)* })*) => {
        $(mod $group {
            $(#[test]
            fn $case() {
                $crate::run::<super::$fixture>(concat!(stringify!($group), "::", stringify!($case)));
            })*
        })*
    };
}

/// Writes the tests of an engine: one for each case, and one that sees that the cases which do not apply are exactly
/// the ones listed.
///
/// See the [crate's documentation](crate) for an example.
#[macro_export]
macro_rules! suite {
    ($fixture:ident, not_applicable: [$($path:literal),* $(,)?]) => {
        $crate::__cases!(__tests [$fixture]);

        #[test]
        fn the_cases_that_do_not_apply_are_listed() {
            $crate::check_not_applicable::<$fixture>(&[$($path),*]);
        }
    };
}

__cases!(__table []);
