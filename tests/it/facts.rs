//! Every fact that was found out about identity providers, and what shows that usher does right by it: a case of
//! `usher::scim::dialect`, a test, or nothing, because it changes neither what a request means nor what is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use usher::scim::dialect::cases;

/// How many facts there are.
const FACTS: u16 = 148;

/// What shows a fact. The cases that do are found by the numbers that they carry.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shown {
    /// Cases, and nothing else.
    Cases,
    /// Cases for what is sent, and these tests for what is answered.
    CasesAnd(&'static [&'static str]),
    /// These tests.
    Tests(&'static [&'static str]),
    /// It changes neither what a request means nor what is answered. Why.
    NoDecoding(&'static str),
}

use Shown::{Cases, CasesAnd, NoDecoding, Tests};

const ABOUT_SERVERS: &str = "about a SCIM server, not about a client";
const UNKNOWN: &str = "not known: nothing to act on";

#[rustfmt::skip]
const TABLE: &[(u16, Shown)] = &[
    // Entra: requests
    (1, CasesAnd(&["a_probe_for_nobody_is_an_empty_list_and_never_a_404", "entra_legacy"])),
    (2, Tests(&["a_probe_for_nobody_is_an_empty_list_and_never_a_404"])),
    (3, CasesAnd(&["entra_legacy", "media_types_and_headers_as_they_come"])),
    (4, CasesAnd(&["lists_filter_and_page", "a_probe_for_nobody_is_an_empty_list_and_never_a_404"])),
    (5, Cases),
    (6, CasesAnd(&["lists_filter_and_page"])),
    (7, CasesAnd(&["a_reference_check_finds_the_manager_and_the_member"])),
    (8, CasesAnd(&["members_are_left_out_where_asked_and_shown_where_not"])),
    (9, Tests(&["discovery_answers_lists_and_says_what_bulk_takes"])),
    (10, Tests(&["okta_reads_pages_by_numbers_in_a_stable_order"])),
    (11, NoDecoding("no sign that Entra calls Bulk on custom applications")),
    // Entra: create
    (12, Cases),
    (13, Cases),
    (14, CasesAnd(&["what_is_written_is_answered_and_read_back"])),
    (15, Cases),
    (16, CasesAnd(&["entra_legacy"])),
    // Entra: PATCH
    (17, CasesAnd(&["patch_takes_the_common_forms"])),
    (18, CasesAnd(&["who_is_disabled_stays_visible_and_who_is_deleted_does_not"])),
    (19, Cases),
    (20, CasesAnd(&["patch_takes_the_common_forms", "a_patch_applies_whole_or_not_at_all"])),
    (21, CasesAnd(&["a_manager_in_every_shape"])),
    (22, CasesAnd(&["a_manager_in_every_shape"])),
    (23, Cases),
    (24, Cases),
    (25, CasesAnd(&["groups_live_on_edges"])),
    (26, CasesAnd(&["groups_live_on_edges"])),
    (27, Cases),
    (28, NoDecoding("the body was not seen: nothing to act on")),
    (29, Cases),
    (30, Cases),
    // Entra: the flag
    (31, Cases),
    (32, Cases),
    (33, CasesAnd(&["entra_optscim062020"])),
    (34, CasesAnd(&["groups_live_on_edges"])),
    (35, CasesAnd(&["entra_optscim062020"])),
    (36, Cases),
    // Entra: answers
    (37, Tests(&["every_answer_is_scim_json_also_when_the_application_answers_html"])),
    (38, Tests(&["a_probe_for_nobody_is_an_empty_list_and_never_a_404"])),
    (39, Tests(&["a_patch_answers_with_the_resource_or_204_as_the_client_is_set"])),
    (40, CasesAnd(&["what_a_client_wrote_is_what_it_reads_back_also_after_a_restart"])),
    (41, Tests(&["who_is_disabled_stays_visible_and_who_is_deleted_does_not"])),
    (42, Tests(&["a_taken_name_is_refused_by_post_put_and_patch"])),
    (43, Tests(&["a_taken_name_is_refused_by_post_put_and_patch"])),
    // Entra: auth, rate, retry
    (44, Tests(&["every_answer_is_scim_json_also_when_the_application_answers_html", "who_is_let_in"])),
    (45, Tests(&["the_defaults_are_within_what_idps_allow"])),
    (46, NoDecoding("when Entra calls")),
    (47, Tests(&["entra_legacy", "a_delete_deactivates_at_once_and_deletes_after_a_week"])),
    (48, NoDecoding("when Entra calls again; that an empty list is 200 is fact 1")),
    (49, NoDecoding("what is not sent is not read")),
    (50, NoDecoding(UNKNOWN)),
    // Okta
    (51, CasesAnd(&["okta", "okta_aiw"])),
    (52, Tests(&["misc"])),
    (53, CasesAnd(&["a_probe_for_nobody_is_an_empty_list_and_never_a_404", "okta"])),
    (54, Tests(&["media_types_and_headers_as_they_come", "okta"])),
    (55, CasesAnd(&["okta"])),
    (56, Tests(&["a_probe_for_nobody_is_an_empty_list_and_never_a_404"])),
    (57, CasesAnd(&["no_password_is_kept_shown_or_sent"])),
    (58, Tests(&["what_is_written_is_answered_and_read_back", "a_taken_name_is_refused_by_post_put_and_patch"])),
    (59, CasesAnd(&["what_is_written_is_answered_and_read_back"])),
    (60, CasesAnd(&["who_is_disabled_stays_visible_and_who_is_deleted_does_not", "okta"])),
    (61, Tests(&["okta_reads_pages_by_numbers_in_a_stable_order"])),
    (62, CasesAnd(&["okta_aiw", "groups_live_on_edges"])),
    (63, CasesAnd(&["groups_live_on_edges", "read_only_attributes_inside_a_value_are_left_alone"])),
    (64, CasesAnd(&["groups_live_on_edges"])),
    (65, CasesAnd(&["groups_live_on_edges"])),
    (66, Tests(&["many_members_at_once_all_arrive", "okta"])),
    (67, Tests(&["what_oktas_spec_test_asserts"])),
    (68, Tests(&["every_answer_is_scim_json_also_when_the_application_answers_html"])),
    (69, Tests(&["what_oktas_spec_test_asserts"])),
    (70, Tests(&["what_oktas_spec_test_asserts", "who_is_let_in"])),
    (71, Tests(&["the_defaults_are_within_what_idps_allow", "a_slow_application_does_not_keep_the_client_waiting"])),
    (72, Tests(&["every_answer_is_scim_json_also_when_the_application_answers_html"])),
    (73, NoDecoding("whom Okta sends at all")),
    // OneLogin
    (74, Tests(&["onelogin"])),
    (75, Tests(&["a_probe_for_nobody_is_an_empty_list_and_never_a_404", "onelogin"])),
    (76, Tests(&["the_clients_response_type_is_the_one_answered"])),
    (77, CasesAnd(&["a_probe_for_nobody_is_an_empty_list_and_never_a_404", "media_types_and_headers_as_they_come"])),
    (78, CasesAnd(&["onelogin"])),
    (79, CasesAnd(&["onelogin"])),
    (80, CasesAnd(&["onelogin"])),
    (81, CasesAnd(&["the_member_delta_of_scim_1_1", "onelogin"])),
    (82, Tests(&["onelogin"])),
    (83, NoDecoding(UNKNOWN)),
    // JumpCloud
    (84, Tests(&["jumpcloud_activates_with_a_user_and_a_group_of_its_own"])),
    (85, Tests(&["jumpcloud_activates_with_a_user_and_a_group_of_its_own"])),
    (86, Cases),
    (87, Cases),
    (88, Tests(&["a_probe_for_nobody_is_an_empty_list_and_never_a_404"])),
    // authentik
    (89, Tests(&["discovery_answers_lists_and_says_what_bulk_takes", "authentik"])),
    (90, Tests(&["authentik", "media_types_and_headers_as_they_come"])),
    (91, CasesAnd(&["authentik"])),
    (92, CasesAnd(&["what_is_written_is_answered_and_read_back", "authentik"])),
    (93, Tests(&["who_is_disabled_stays_visible_and_who_is_deleted_does_not", "authentik"])),
    (94, Cases),
    (95, CasesAnd(&["authentik"])),
    (96, CasesAnd(&["authentik"])),
    (97, CasesAnd(&["members_are_left_out_where_asked_and_shown_where_not", "authentik"])),
    (98, CasesAnd(&["authentik"])),
    (99, CasesAnd(&["okta_reads_pages_by_numbers_in_a_stable_order"])),
    (100, Tests(&["discovery_answers_lists_and_says_what_bulk_takes"])),
    (101, CasesAnd(&["authentik", "misc"])),
    (102, NoDecoding("what authentik does not send")),
    // Keycloak
    (103, NoDecoding(ABOUT_SERVERS)),
    (104, NoDecoding(ABOUT_SERVERS)),
    (105, Tests(&["media_types_and_headers_as_they_come", "a_slow_application_does_not_keep_the_client_waiting"])),
    (106, Cases),
    (107, CasesAnd(&["groups_live_on_edges"])),
    (108, Cases),
    (109, Cases),
    (110, CasesAnd(&["a_version_that_is_not_the_newest_is_refused", "discovery_answers_lists_and_says_what_bulk_takes"])),
    (111, Cases),
    // Ping
    (112, Tests(&["a_probe_for_nobody_is_an_empty_list_and_never_a_404", "groups_live_on_edges"])),
    (113, CasesAnd(&["who_is_let_in"])),
    (114, Cases),
    (115, Cases),
    (116, Cases),
    // Google
    (117, NoDecoding("how often Google calls")),
    (118, CasesAnd(&["three_idps_users_become_valid_zoom_users", "a_probe_for_nobody_is_an_empty_list_and_never_a_404"])),
    (119, NoDecoding(UNKNOWN)),
    (120, NoDecoding(ABOUT_SERVERS)),
    // others
    (121, CasesAnd(&["lists_filter_and_page"])),
    (122, CasesAnd(&["misc"])),
    (123, CasesAnd(&["a_probe_for_nobody_is_an_empty_list_and_never_a_404", "misc"])),
    (124, Cases),
    (125, CasesAnd(&["no_password_is_kept_shown_or_sent", "media_types_and_headers_as_they_come", "misc"])),
    (126, NoDecoding("a choice between two requests that are both taken")),
    (127, NoDecoding(ABOUT_SERVERS)),
    (128, NoDecoding(UNKNOWN)),
    (129, NoDecoding(ABOUT_SERVERS)),
    // what servers got wrong
    (130, CasesAnd(&["groups_live_on_edges"])),
    (131, CasesAnd(&["who_is_disabled_stays_visible_and_who_is_deleted_does_not"])),
    (132, CasesAnd(&["groups_live_on_edges"])),
    (133, Cases),
    (134, Cases),
    (135, Tests(&["what_oktas_spec_test_asserts", "lists_filter_and_page"])),
    (136, Tests(&["discovery_answers_lists_and_says_what_bulk_takes"])),
    (137, CasesAnd(&["patch_takes_the_common_forms"])),
    (138, Tests(&["a_taken_name_is_refused_by_post_put_and_patch"])),
    (139, CasesAnd(&["groups_live_on_edges"])),
    (140, CasesAnd(&["groups_live_on_edges", "okta_aiw"])),
    (141, Tests(&["every_answer_is_scim_json_also_when_the_application_answers_html"])),
    (142, CasesAnd(&["members_are_left_out_where_asked_and_shown_where_not"])),
    (143, Tests(&["every_answer_is_scim_json_also_when_the_application_answers_html"])),
    // miniOrange
    (144, CasesAnd(&["miniorange"])),
    (145, CasesAnd(&["miniorange"])),
    (146, Tests(&["miniorange"])),
    (147, Tests(&["people_are_found_where_zoom_knows_them_by_more_than_a_name"])),
    (148, CasesAnd(&["answers_are_read_by_what_the_call_was_for"])),
];

/// The names of all test functions below a folder.
pub(crate) fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|end| end == "rs") {
            names.extend(tests_in(&fs::read_to_string(&path).expect("a source file")));
        }
    }
}

/// A test is a function under an attribute that ends in `test]`; other attributes may stand between.
fn tests_in(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut under = false;
    for line in source.lines().map(str::trim) {
        let declared = line
            .strip_prefix("async ")
            .unwrap_or(line)
            .strip_prefix("fn ");
        match declared.and_then(|rest| rest.split_once('(')) {
            Some((name, _)) => {
                if std::mem::take(&mut under) {
                    names.push(name.to_owned());
                }
            }
            None if line.starts_with("#[") => {
                under = under || line == "#[test]" || line.starts_with("#[tokio::test");
            }
            None => under = under && (line.starts_with("//") || line.is_empty()),
        }
    }
    names
}

#[test]
fn every_fact_is_shown_by_what_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests"] {
        tests_below(&root.join(folder), &mut tests);
    }
    let mut by_fact: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for case in cases() {
        assert!(!case.facts.is_empty(), "{} cites no fact", case.name);
        for fact in case.facts {
            by_fact.entry(*fact).or_default().push(case.name);
        }
    }
    let numbers: Vec<u16> = TABLE.iter().map(|(fact, _)| *fact).collect();
    assert_eq!(
        numbers,
        (1..=FACTS).collect::<Vec<_>>(),
        "each fact once, in order"
    );
    assert!(
        by_fact.keys().all(|fact| numbers.contains(fact)),
        "a case cites a fact that there is not"
    );
    let (mut cased, mut tested, mut none) = (0, 0, 0);
    for (fact, shown) in TABLE {
        let cases = by_fact.get(fact).map_or(&[][..], Vec::as_slice);
        let names = match shown {
            Tests(names) | CasesAnd(names) => *names,
            Cases | NoDecoding(_) => &[],
        };
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !tests.contains(**name))
            .collect();
        assert!(missing.is_empty(), "fact {fact}: no test {missing:?}");
        let cited = matches!(shown, Tests(_) | CasesAnd(_));
        assert_eq!(cited, !names.is_empty(), "fact {fact}: {names:?}");
        let decodes = matches!(shown, Cases | CasesAnd(_));
        assert_eq!(decodes, !cases.is_empty(), "fact {fact}: {cases:?}");
        cased += usize::from(decodes);
        tested += usize::from(cited);
        if let NoDecoding(why) = shown {
            assert!(!why.is_empty());
            none += 1;
        }
    }
    crate::house::say(&format!(
        "{FACTS} facts: {cased} in {} cases, {tested} in tests, {none} no decoding",
        cases().count()
    ));
    assert!(
        none < 25,
        "what changes an answer is not called no decoding"
    );
}

#[test]
fn tests_are_told_from_other_functions() {
    let source = "#[test]\nfn one() {}\nfn two() {}\n#[tokio::test]\n#[ignore]\n// a comment\nasync fn three() {}\n#[derive(A)]\nfn four() {}\n#[test]\nconst A: u8 = 1;\nfn five() {}\n";
    assert_eq!(tests_in(source), ["one", "three"]);
}
