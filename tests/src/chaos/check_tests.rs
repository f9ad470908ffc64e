//! Each violation planted in a history that is good otherwise.

use super::*;
use crate::chaos::{Fault, Refresh, Release, Served};

fn release(person: &str, generation: u64, token: &str) -> Release {
    Release {
        grant: format!("grant of {person}"),
        generation,
        fingerprint: format!("of {token}"),
        subject: person.to_owned(),
        server: "notes".to_owned(),
    }
}

fn grant(person: &str) -> Grant {
    let tokens = [format!("{person}-1"), format!("{person}-2")];
    Grant {
        person: person.to_owned(),
        server: "notes".to_owned(),
        bears: Some(0),
        reuse_ends_it: false,
        issued: tokens.to_vec(),
        refreshes: vec![Refresh { at: 40_000, token: 0 }],
        uses: vec![1, 0],
        ended_for_reuse: false,
        served: tokens.iter().map(|token| Served { at: 0, token: token.clone() }).collect(),
        releases: vec![release(person, 1, &tokens[0]), release(person, 2, &tokens[1])],
        generations: vec![1, 1, 2],
        verdict: Verdict::Lives,
    }
}

/// The violations in a good history after this change to the first grant.
fn planted(change: impl FnOnce(&mut Grant)) -> Vec<Violation> {
    let mut history = History {
        grants: vec![grant("alice"), grant("bob")],
        faults: vec![Fault { from: 1_000, to: 2_000 }],
        audit_verifies: true,
    };
    change(&mut history.grants[0]);
    check(&history)
}

fn person() -> String {
    "alice".to_owned()
}

#[test]
fn a_good_history_has_none() {
    assert_eq!(planted(|_| {}), []);
}

#[test]
fn finds_a_token_of_somebody_else() {
    let found = planted(|grant| grant.served[1].token = "bob-2".to_owned());
    assert_eq!(found, [Violation::Foreign { person: person(), server: "notes".to_owned() }]);
}

#[test]
fn finds_a_release_that_is_not_on_record() {
    let found = planted(|grant| drop(grant.releases.pop()));
    assert_eq!(found, [Violation::Unrecorded { person: person(), used: 2, recorded: 1 }]);
}

#[test]
fn finds_a_grant_that_was_released_to_another() {
    let found = planted(|grant| {
        grant.releases.push(Release { subject: "mallory".to_owned(), ..release("alice", 2, "alice-2") });
    });
    assert_eq!(found, [Violation::Shared { grant: "grant of alice".to_owned() }]);
}

#[test]
fn finds_two_tokens_of_one_generation() {
    let found = planted(|grant| grant.releases.push(release("alice", 2, "alice-3")));
    assert_eq!(found, [Violation::Forked { grant: "grant of alice".to_owned(), generation: 2 }]);
}

#[test]
fn finds_a_generation_that_went_back() {
    let found = planted(|grant| grant.generations.push(1));
    assert_eq!(found, [Violation::WentBack { person: person(), from: 2, to: 1 }]);
}

#[test]
fn finds_who_is_stranded_without_need_and_lets_be_who_could_not_be_kept() {
    for verdict in [Verdict::AsksForConsent, Verdict::Silent] {
        let stranded = [Violation::Stranded { person: person(), verdict }];
        assert_eq!(planted(|grant| grant.verdict = verdict), stranded, "nothing was wrong when it was refreshed");
        let in_need = |grant: &mut Grant| {
            grant.verdict = verdict;
            grant.refreshes.push(Refresh { at: 1_500, token: 1 });
        };
        let lets_be = verdict == Verdict::AsksForConsent;
        assert_eq!(planted(in_need), if lets_be { vec![] } else { stranded.to_vec() });
        for bears in [Some(1), None] {
            let kept = |grant: &mut Grant| {
                in_need(grant);
                grant.bears = bears;
            };
            assert_eq!(planted(kept), stranded, "one lost answer could be borne");
        }
    }
}

#[test]
fn finds_a_third_use_of_a_refresh_token() {
    assert_eq!(planted(|grant| grant.uses[0] = 2), []);
    assert_eq!(planted(|grant| grant.uses[0] = 3), [Violation::Insisted { person: person(), uses: 3 }]);
}

#[test]
fn finds_a_family_that_we_have_ended() {
    let ended = [Violation::EndedForReuse { person: person() }];
    assert_eq!(planted(|grant| grant.ended_for_reuse = true), ended);
    let found_out = |grant: &mut Grant| {
        (grant.ended_for_reuse, grant.reuse_ends_it) = (true, true);
        grant.refreshes.push(Refresh { at: 1_500, token: 1 });
    };
    assert_eq!(planted(found_out), []);
}

#[test]
fn finds_a_broken_audit() {
    assert_eq!(check(&History::default()), [Violation::Audit]);
}
