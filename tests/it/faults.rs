//! What goes wrong around the gateway, and which tests show what it does then. The table is checked against the sources and
//! printed; each test prints its own figures.

mod applications;
mod clients;
mod machine;
mod removals;
mod waiting;

use std::collections::BTreeSet;
use std::path::Path;

use crate::facts::tests_below;
use crate::house::say;

/// A fault, what is expected then, and the tests that inject it.
struct Shown {
    fault: &'static str,
    expected: &'static str,
    tests: &'static [&'static str],
}

const TABLE: &[Shown] = &[
    Shown {
        fault: "killed at any step",
        expected: "nothing acknowledged is lost, nobody is made twice, the next start is quick",
        tests: &[
            "killed_at_a_flush_a_write_or_a_send_it_loses_nothing_and_doubles_nobody",
            "kill_nine_loses_nothing_doubles_nobody_and_hides_no_operation",
            "a_gateway_that_dies_in_a_call_leaves_nothing_twice_and_nobody_behind",
            "left_over_intents_are_committed_as_unknown",
            "where_duplicates_are_refused",
            "where_duplicates_are_taken_and_shown_within_the_lag",
            "what_is_promised_holds_in_every_history",
        ],
    },
    Shown {
        fault: "the power goes: writes are lost, torn, in another order",
        expected: "as after a kill, also where it goes again while that is mended; the file opens",
        tests: &[
            "what_was_acknowledged_survives_a_disk_that_loses_tears_and_reorders",
            "what_is_promised_holds_in_every_history",
            "a_crash_after_any_step_leaves_the_old_or_the_new_and_the_next_try_goes_through",
        ],
    },
    Shown {
        fault: "a flush fails",
        expected: "no success is told, the process ends, the next start settles what is unknown, once",
        tests: &[
            "a_disk_that_fails_at_any_call_ends_the_writes_and_loses_nothing",
            "a_flush_that_fails_is_503_and_the_end_and_the_next_start_settles_it",
            "a_commit_that_fails_ends_the_gateway_and_loses_nothing",
            "a_failed_commit_breaks_the_store_for_writes",
        ],
    },
    Shown {
        fault: "the disk is full",
        expected: "writes are refused and readiness says so, reads go on; it heals by itself",
        tests: &[
            "a_disk_that_fills_refuses_writes_serves_reads_and_takes_them_again",
            "a_nearly_full_disk_refuses_writes_and_reads_go_on",
            "free_space_is_measured_again_by_itself",
            "a_disk_that_fails_at_any_call_ends_the_writes_and_loses_nothing",
        ],
    },
    Shown {
        fault: "the disk is slow",
        expected: "answers take longer, what waits is bounded, too much is refused",
        tests: &[
            "a_slow_disk_makes_answers_slow_and_nothing_else",
            "a_full_queue_refuses_before_anything_is_sent",
            "many_writers_share_transactions_and_each_hears_its_own",
        ],
    },
    Shown {
        fault: "the data file is damaged or cut short",
        expected: "a closed one is refused, a row of an open one is refused; never wrong, never empty",
        tests: &[
            "flipped_bytes_anywhere_in_a_closed_file_are_never_served",
            "a_file_that_was_cut_short_is_refused_and_never_empty",
            "a_row_that_rots_while_the_file_is_open_is_refused",
            "a_damaged_row_is_refused_and_its_neighbours_are_served",
            "a_damaged_row_keeps_nobody_else_waiting",
        ],
    },
    Shown {
        fault: "the data file is gone, or an old copy",
        expected: "it is refused until a person says so, and nothing is sent; a backup is read-only until then",
        tests: &[
            "a_data_file_that_is_not_the_last_one_is_refused_until_a_person_accepts_it",
            "the_marker_tells_a_missing_an_older_and_a_foreign_file",
            "what_was_restored_only_reads_until_it_is_confirmed_and_then_converges",
        ],
    },
    Shown {
        fault: "an application is away for an hour",
        expected: "all is taken, and afterwards goes in each account's order",
        tests: &[
            "what_an_application_missed_for_an_hour_comes_in_order",
            "an_outage_costs_one_call_a_person_afterwards_and_is_nobodys_fault",
            "an_outage_is_queued_or_refused_and_never_a_4xx",
            "an_outage_is_nobodys_fault",
        ],
    },
    Shown {
        fault: "an application does it and hangs up, or never answers",
        expected: "nobody has two accounts",
        tests: &[
            "an_answer_cut_at_any_byte_makes_no_second_account",
            "a_lost_answer_makes_no_second_account",
            "a_slow_application_does_not_keep_the_client_waiting",
            "where_duplicates_are_taken_and_shown_within_the_lag",
        ],
    },
    Shown {
        fault: "an application says \"too many\", in a storm or for the day",
        expected: "no call while told to wait, also after a kill, a restart, a reload; never above what it grants",
        tests: &[
            "in_a_storm_of_429_every_wait_is_kept",
            "who_was_told_to_wait_waits_though_the_gateway_is_killed",
            "who_was_told_to_wait_waits_through_restarts_and_reloads",
            "nobody_is_asked_while_told_to_wait",
            "a_daily_limit_closes_the_class_until_its_date",
            "a_burst_of_creates_is_taken_at_once_and_drains_by_lane_at_the_pace",
            "never_above_what_was_granted_and_all_comes_back",
            "in_all_pairs",
        ],
    },
    Shown {
        fault: "an application answers with 5xx",
        expected: "it is left alone; one call at a time finds out, also after a restart; the others go on",
        tests: &[
            "while_an_application_fails_one_call_at_a_time_finds_out_also_after_a_restart",
            "one_that_is_down_or_refuses_us_stops_alone",
            "an_application_that_failed_is_left_alone_then_asked_by_one",
        ],
    },
    Shown {
        fault: "a token is voided or refused",
        expected: "one renewal for all workers; then all stop, and it is told",
        tests: &[
            "a_voided_token_is_renewed_once_for_all_workers_and_then_they_stop",
            "a_token_that_zoom_voided_is_renewed_once_and_both_calls_are_on_the_record",
            "while_an_application_fails_one_call_at_a_time_finds_out_also_after_a_restart",
            "status_shows_pace_queue_and_who_has_to_look",
        ],
    },
    Shown {
        fault: "an answer drips",
        expected: "it is given up after 30 s in all, and after `wait` where a client waits",
        tests: &[
            "an_answer_that_drips_is_given_up_in_time",
            "an_answer_that_drips_is_lost_at_the_deadline",
            "one_that_hangs_keeps_no_place_of_the_others",
        ],
    },
    Shown {
        fault: "an answer is giant, coded, no JSON, or leads elsewhere",
        expected: "memory is bounded, no call and no token goes elsewhere, and it is not taken for done",
        tests: &[
            "whatever_an_application_answers_no_call_goes_elsewhere",
            "one_account_that_is_answered_to_two_creates_stays_the_firsts",
            "what_may_have_been_seen_is_lost",
            "whole_answers_are_replies_redirects_too",
            "an_answer_that_costs_too_much_to_read_is_not_read",
            "an_applications_answer_has_a_limit",
            "spoiled_answers_break_no_promise",
        ],
    },
    Shown {
        fault: "a client is cut off in a request",
        expected: "the write is whole or absent",
        tests: &[
            "a_client_cut_off_at_any_byte_leaves_all_or_nothing",
            "a_client_that_hangs_up_does_not_stop_its_write",
        ],
    },
    Shown {
        fault: "a client sends all again",
        expected: "one effect, the same answer, not one more call that writes",
        tests: &[
            "what_is_sent_again_has_one_effect_and_one_answer",
            "sixty_four_creates_of_one_name_make_one",
        ],
    },
    Shown {
        fault: "a source is empty, or takes very many away",
        expected: "no more than the safety limit lets go; the rest waits for a person and is not forgotten",
        tests: &[
            "no_slip_of_a_source_takes_more_than_the_limit_lets_go",
            "what_is_decided_at_once_is_counted_before_the_first_goes",
            "a_bulk_is_counted_whole",
            "a_reload_that_shuts_everybody_out_shuts_out_nobody",
            "what_goes_with_a_deleted_group_waits_for_a_person",
            "a_group_of_empty_groups_waits_for_a_person",
            "the_safety_limit_holds_and_only_coming_back_cancels",
            "a_removal_is_never_given_up_and_is_told_of",
        ],
    },
];

#[test]
fn every_fault_is_injected_by_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests"] {
        tests_below(&root.join(folder), &mut tests);
    }
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for shown in TABLE {
        let missing: Vec<_> = shown
            .tests
            .iter()
            .filter(|name| !tests.contains(**name))
            .collect();
        assert!(missing.is_empty(), "{}: no test {missing:?}", shown.fault);
        assert!(!shown.tests.is_empty(), "{}", shown.fault);
        named.extend(shown.tests.iter().copied());
        say(&format!(
            "fault: {}\n  {}\n  {}",
            shown.fault,
            shown.expected,
            shown.tests.join("\n  ")
        ));
    }
    say(&format!(
        "{} faults, {} tests inject them",
        TABLE.len(),
        named.len()
    ));
    assert_eq!(TABLE.len(), 17);
}
