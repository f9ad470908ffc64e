//! What every back end must do. A case takes one store, or two handles on the same data that stand for two brokers.
//!
//! A back end is named once, with a function that opens it in a directory; each case is then a test of its own.

mod audit;
mod consents;
mod damaged;
mod due;
mod grants;
mod identities;
mod intents;
mod invalidations;
mod keys;
mod manifests;
mod principals;
mod reports;
mod sealed;
mod secrets;
mod shred;
mod sign_ins;
mod tokens;

use super::Sealed;
use crate::clock::UnixTime;

/// Somebody who has the database in hand, and writes past the broker.
#[async_trait::async_trait]
pub(crate) trait Tamper {
    async fn tamper_with(&self, sql: String);
    /// As SQL, what a column of text can hold that is no text; nothing where the database refuses it.
    fn no_text(&self) -> Option<&'static str>;
}

const NOW: UnixTime = UnixTime(1_800_000_000_000);

/// The first generation of a holder's grant.
pub(super) fn grant(id: &str, holder: &str) -> super::GrantCommit {
    grants::grant(id, &grants::key("client", holder), 1, "access")
}

fn sealed(text: &str) -> Sealed {
    Sealed(text.as_bytes().to_vec())
}

/// Makes one test of each case of one aggregate.
macro_rules! cases {
    ($open:path, $group:ident, one: [$($one:ident,)*] two: [$($two:ident,)*]) => {
        mod $group {
            $(
                #[tokio::test]
                async fn $one() {
                    let dir = tempfile::tempdir().unwrap();
                    super::super::$group::$one(&$open(dir.path()).await).await;
                }
            )*
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $two() {
                    let dir = tempfile::tempdir().unwrap();
                    let (first, second) = ($open(dir.path()).await, $open(dir.path()).await);
                    super::super::$group::$two(&first, &second).await;
                }
            )*
        }
    };
}

/// Makes one test of each case for one back end. `$open` opens a handle on the data in a directory.
macro_rules! suite {
    ($backend:ident, $open:path) => {
        mod $backend {
            cases! { $open, principals,
                one: [
                    is_unknown_until_ensured,
                    an_identity_finds_its_principal_again,
                    an_identity_joins_the_principal_of_its_name,
                    an_identity_never_moves_to_another_name,
                    the_same_subject_of_two_issuers_is_two_principals,
                    a_user_and_a_virtual_account_of_one_name_are_two,
                    refuses_a_principal_nobody_could_find,
                ]
                two: [
                    two_brokers_make_one_principal,
                ]
            }
            cases! { $open, identities,
                one: [
                    say_how_and_when_they_were_linked,
                    an_address_links_issuers_and_never_a_second_subject_of_one,
                    an_operator_links_a_second_subject_and_nobody_elses,
                    a_released_name_is_somebody_new_and_leaves_nothing_to_its_last_owner,
                    a_released_name_can_be_released_again_only_once_it_is_somebodys,
                    who_came_before_their_address_was_known_gets_the_name_with_it,
                    an_operator_names_who_came_before_their_address_was_known,
                    r10_whose_name_was_taken_away_gets_none_again,
                    v3_a_corrupt_one_names_itself_and_spoils_no_other,
                ]
                two: [
                    of_two_subjects_at_two_brokers_one_gets_the_principal,
                    a_release_and_a_sign_in_at_once_leave_one_owner_of_the_name,
                    of_two_nameless_ones_at_two_brokers_one_gets_the_name,
                ]
            }
            cases! { $open, manifests,
                one: [
                    a_new_store_is_at_revision_zero,
                    are_listed_in_order_and_replaced_by_type_and_name,
                    refuses_a_revision_that_has_passed_and_changes_nothing,
                    refuses_a_revision_yet_to_come,
                    their_revision_and_that_of_secrets_are_told_without_them,
                ]
                two: [
                    of_two_writers_one_wins_and_the_other_changes_nothing,
                ]
            }
            cases! { $open, secrets,
                one: [
                    are_read_as_written,
                    refuses_a_generation_that_is_not_the_next,
                    a_refused_secret_adds_no_group_and_no_owner,
                    owners_add_up,
                    are_listed_in_order,
                ]
                two: [
                    of_two_writers_one_wins_and_the_other_changes_nothing,
                ]
            }
            cases! { $open, grants,
                one: [
                    are_read_as_written,
                    another_holder_or_client_is_another_grant,
                    refuses_a_generation_that_is_not_the_next,
                    refuses_the_material_of_another_record,
                    v3_a_corrupt_one_names_its_id_and_spoils_no_other,
                ]
                two: [
                    i5_of_two_committers_one_wins_and_the_other_changes_nothing,
                    i5_the_first_generation_is_stored_once,
                ]
            }
            cases! { $open, intents,
                one: [
                    are_read_as_written_and_given_back,
                    refuses_one_for_another_generation_or_an_ended_grant,
                    a_dangling_one_is_replaced_by_whoever_names_it,
                    gives_back_no_other_than_the_one_named,
                    a_pause_is_read_as_written_and_ends_with_its_generation,
                    a_pause_is_of_one_generation_and_one_intent,
                    refuses_an_intent_of_whom_a_pause_has_overtaken,
                    dangle_after_their_deadline_or_when_their_broker_starts_again,
                    i5_a_commit_ends_intent_and_spare,
                    i5_a_refresh_revives_no_ended_grant,
                    a_consent_revives_an_ended_grant_at_the_next_generation,
                    i5_ends_no_other_generation,
                    a_revocation_overrules_every_other_end_and_no_other_end_a_revocation,
                    an_ended_grant_keeps_its_row_and_no_material,
                    i5_an_access_token_outlives_the_refreshes_of_its_grant,
                    refuses_to_end_refreshes_of_another_generation_or_twice,
                    every_end_destroys_what_is_left,
                    what_is_set_aside_keeps_everything_and_is_due_no_more,
                    a_first_token_is_one_brokers_to_ask_for,
                    refuses_to_set_aside_or_take_up_anything_else,
                    i5_an_answer_that_was_believed_lost_revives_what_is_left,
                    i5_an_answer_that_was_believed_lost_revives_what_was_ended_for_it,
                    i5_what_came_to_nothing_takes_nothing_from_the_attempts_before_it,
                    keeps_the_first_spare,
                ]
                two: [
                    of_two_takers_one_gets_the_right,
                    of_two_who_want_a_first_token_one_asks,
                    of_two_recoveries_one_gets_the_right,
                    i5_a_grant_is_ended_or_renewed_and_never_both,
                ]
            }
            cases! { $open, due,
                one: [
                    are_shown_by_client_in_order_and_no_more_than_asked_for,
                    the_most_lately_used_are_shown_first_after_what_somebody_began_and_never_ended,
                    the_oldest_is_told_of_what_is_used_or_begun,
                    of_each_client_it_is_told_how_many_are_under_refresh,
                    of_a_budget_is_spent_what_was_seen_and_nothing_else,
                    what_cannot_be_refreshed_is_never_shown,
                    what_was_put_off_leaves_its_place_to_others,
                    an_intent_and_a_pause_put_off_until_they_end,
                    an_idle_one_is_left_until_it_is_used_again,
                    a_life_is_set_of_the_generation_it_was_asked_for_and_no_other,
                ]
                two: [
                    an_idle_one_that_another_broker_uses_meanwhile_is_shown,
                    of_two_who_spend_at_once_one_does,
                ]
            }
            cases! { $open, invalidations,
                one: [
                    an_end_is_one_and_says_of_what,
                    an_end_that_was_refused_is_none,
                    a_commit_is_one_only_where_it_says_so,
                    of_each_grant_the_latest_is_read,
                    v3_a_corrupt_one_is_told_by_what_can_be_read_and_spoils_no_other,
                    are_read_page_by_page,
                    the_old_are_dropped_and_numbers_go_on,
                ]
                two: [
                    one_brokers_is_read_by_the_other,
                    i11_none_is_missed_by_who_reads_while_others_end,
                ]
            }
            cases! { $open, consents,
                one: [
                    are_read_as_written,
                    an_unfinished_one_is_found_again,
                    of_another_holder_client_server_scopes_or_subjects_is_another,
                    an_upstream_that_asks_for_ever_other_scopes_makes_no_more_than_sixteen,
                    one_that_expired_or_ended_is_not_found_again,
                    o1_a_new_attempt_destroys_the_one_before,
                    o6_an_end_destroys_every_secret_and_stays,
                    o12_held_tokens_wait_for_the_end_and_for_nothing_else,
                    o12_what_is_held_is_replaced_by_who_holds_it_before_anything_is_chosen,
                    o12_what_is_chosen_is_the_grants_in_the_write_that_says_so,
                    o12_what_is_not_wanted_is_never_the_grants,
                    those_that_expired_while_they_held_tokens_are_found,
                    only_what_expired_is_dropped,
                    what_comes_of_one_is_stored_only_while_it_is_somebodys,
                    r10_what_an_owner_agrees_to_is_stored_only_while_they_have_their_name,
                ]
                two: [
                    a_release_and_a_commit_at_once_leave_no_grant_that_the_release_could_not_see,
                    r10_an_owners_release_and_a_commit_at_once_leave_no_grant_that_the_release_could_not_see,
                    two_brokers_make_one,
                    o6_of_two_brokers_one_takes_the_code,
                    o12_two_brokers_settle_one_choice,
                ]
            }
            cases! { $open, sign_ins,
                one: [
                    a_session_is_read_as_written_until_it_expires_or_ends,
                    o1_a_sign_in_is_used_up_with_the_session_it_makes_or_not_at_all,
                    a_sign_in_is_read_as_written_until_it_expires,
                    only_an_applications_is_confirmed_and_only_once,
                    a_used_one_keeps_no_secrets_and_an_expired_one_is_not_used,
                    the_expired_are_dropped_and_no_others,
                ]
                two: [
                    of_two_who_use_one_sign_in_one_does,
                ]
            }
            cases! { $open, tokens,
                one: [
                    are_read_as_written,
                    refuses_a_taken_id_a_taken_hash_and_an_unknown_principal,
                    expired_ones_are_not_listed,
                    revoked_ones_are_told_until_they_expire,
                    the_first_revocation_stays,
                    v3_a_corrupt_one_stays_revoked_and_spoils_no_other,
                ]
                two: [
                    of_two_makers_of_one_id_one_wins,
                    of_two_revocations_one_moment_stays,
                ]
            }
            cases! { $open, keys,
                one: [
                    are_listed_newest_first_by_purpose,
                    refuses_a_taken_id,
                    a_first_key_is_refused_where_there_is_one_of_its_purpose_or_its_id,
                    drops_the_old_ones_of_one_purpose,
                    v3_a_corrupt_one_names_itself_and_nobody_is_the_first_in_its_place,
                ]
                two: [
                    of_two_makers_of_one_id_one_wins,
                    of_two_makers_of_the_first_key_one_wins_and_both_use_it,
                ]
            }
            cases! { $open, damaged,
                one: [
                    v3_grants,
                    v3_consents,
                    v3_sign_ins_and_sessions,
                    v3_principals,
                    v3_secrets_manifests_and_audit,
                    v3_master_keys,
                    v3_times_of_the_schedule,
                ]
                two: []
            }
            cases! { $open, sealed,
                one: [
                    v6_every_column_is_found_and_swapped,
                    pages_by_record_and_limit,
                    a_field_shorter_than_a_header_is_told_as_it_is,
                    master_keys_add_up_and_are_remembered,
                ]
                two: [
                    i5_a_swap_loses_against_a_later_generation,
                    two_brokers_count_into_one_sum,
                ]
            }
            cases! { $open, shred,
                one: [
                    v7_a_holders_wrapped_keys_are_gone_and_nobody_elses,
                    v7_is_done_in_parts_until_nothing_is_left,
                    v7_a_consent_under_way_ends,
                    v7_of_the_tenant_nothing_sealed_is_left,
                    v7_what_comes_home_late_revives_nothing,
                ]
                two: [
                    v7_of_what_is_renewed_meanwhile_nothing_is_left_either,
                ]
            }
            cases! { $open, audit,
                one: [
                    sequence_and_hashes_are_continuous,
                    appending_nothing_changes_nothing,
                    filters_narrow_together,
                    one_batch_may_be_longer_than_a_statement,
                    pages_by_sequence_and_limit,
                ]
                two: [
                    two_brokers_extend_one_chain,
                ]
            }
            cases! { $open, reports,
                one: [
                    a_repeated_batch_changes_nothing,
                    a_gap_is_told_once,
                    a_late_batch_fills_its_gap_once,
                    a_first_batch_that_is_not_the_first_is_a_gap,
                    workers_and_epochs_count_apart,
                    i3_no_peer_uses_up_the_numbers_of_another,
                    the_highest_number_there_is_does_no_harm,
                ]
                two: [
                    one_batch_at_two_brokers_is_stored_once,
                ]
            }
        }
    };
}

suite!(sqlite, crate::store::sqlite::open_in);
suite!(postgres, crate::store::postgres::tests::open_in);
suite!(postgres_behind_pgbouncer, crate::store::postgres::tests::open_behind_pgbouncer);
