//! Each violation planted in a history that is good otherwise.

use super::*;
use crate::chaos::{Fault, Outage, Refresh, Release, Served, Struck};

/// A refresh that was answered.
const ASKED: Refresh = Refresh { at: 40_000, answered: 40_150, withheld: false, token: 0 };

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
        refreshes: vec![ASKED],
        uses: vec![1, 0],
        ended_for_reuse: false,
        served: tokens.iter().map(|token| Served { at: 0, token: token.clone() }).collect(),
        releases: vec![release(person, 1, &tokens[0]), release(person, 2, &tokens[1])],
        generations: vec![1, 1, 2],
        verdict: Verdict::Lives,
    }
}

/// A good history; something happened in it, and nothing while anybody was refreshed.
fn good() -> History {
    History {
        grants: vec![grant("alice"), grant("bob")],
        faults: vec![Fault { at: 1_000, until: 2_000 }],
        outages: vec![Outage { from: 5_000, to: 6_000 }],
        audit_verifies: true,
    }
}

/// The violations in a good history after this change to the first grant.
fn planted(change: impl FnOnce(&mut Grant)) -> Vec<Violation> {
    let mut history = good();
    change(&mut history.grants[0]);
    check(&history)
}

/// The violations where the first person is asked for consent, after these faults.
fn asked_after(faults: &[Fault], outages: &[Outage]) -> Vec<Violation> {
    let mut history = History { faults: faults.to_vec(), outages: outages.to_vec(), ..good() };
    history.grants[0].verdict = Verdict::AsksForConsent;
    check(&history)
}

fn stranded(verdict: Verdict) -> Violation {
    Violation::Stranded { person: person(), verdict }
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
        let found = vec![stranded(verdict)];
        assert_eq!(planted(|grant| grant.verdict = verdict), found, "nothing was wrong when it was refreshed");
        let in_need = |grant: &mut Grant| {
            grant.verdict = verdict;
            grant.refreshes.push(Refresh { withheld: true, token: 1, ..ASKED });
            grant.uses[1] = 1;
        };
        let lets_be = verdict == Verdict::AsksForConsent;
        assert_eq!(planted(in_need), if lets_be { vec![] } else { found.clone() });
        for bears in [Some(1), None] {
            let kept = |grant: &mut Grant| {
                in_need(grant);
                grant.bears = bears;
            };
            assert_eq!(planted(kept), found, "one lost answer could be borne");
        }
    }
}

#[test]
fn an_answer_that_another_lost_or_the_same_person_for_another_token_excuses_nobody() {
    let mut history = good();
    history.grants[0].verdict = Verdict::AsksForConsent;
    history.grants[1].refreshes[0].withheld = true;
    assert_eq!(check(&history), [stranded(Verdict::AsksForConsent)]);
    // Where one is borne: two of one token are too much, one each of two are not.
    for (second, excuses) in [(0, true), (1, false)] {
        let found = planted(|grant| {
            (grant.bears, grant.verdict) = (Some(1), Verdict::AsksForConsent);
            grant.uses[second] += 1;
            grant.refreshes =
                vec![0, second].into_iter().map(|token| Refresh { withheld: true, token, ..ASKED }).collect();
        });
        assert_eq!(found.is_empty(), excuses, "{found:?}");
    }
}

#[test]
fn an_answer_whose_refresh_token_was_used_was_not_lost() {
    let found = planted(|grant| {
        grant.verdict = Verdict::AsksForConsent;
        grant.refreshes[0].withheld = true;
        grant.refreshes.push(Refresh { token: 1, ..ASKED });
        grant.uses[1] = 1;
    });
    assert_eq!(found, [stranded(Verdict::AsksForConsent)]);
}

#[test]
fn a_death_excuses_only_while_a_refresh_was_under_way() {
    for (at, excuses) in [
        (20_000, false),
        (39_500, false),
        (39_900, true),
        (40_000, true),
        (40_150, true),
        (41_100, true),
        (41_200, false),
        (48_000, false),
    ] {
        let found = asked_after(&[Fault { at, until: at + 2_000 }], &[]);
        assert_eq!(found.is_empty(), excuses, "at {at}: {found:?}");
    }
}

#[test]
fn an_outage_of_the_store_alone_excuses_nobody_nor_a_death_in_one_that_was_over_in_time() {
    let (brief, long) = (Outage { from: 40_100, to: 43_000 }, Outage { from: 40_100, to: 65_000 });
    let (soon, late) = (Fault { at: 42_000, until: 44_000 }, Fault { at: 42_000, until: 70_000 });
    let after_it = Fault { at: 68_000, until: 99_000 };
    for (faults, outages, excuses) in [
        (vec![], vec![long], false),
        (vec![soon], vec![brief], false),
        // What waits in the spool waits for both.
        (vec![late], vec![brief], true),
        (vec![soon], vec![long], true),
        (vec![after_it], vec![long], false),
        (vec![late], vec![], false),
        (vec![late], vec![Outage { from: 41_500, to: 43_000 }], false),
    ] {
        let found = asked_after(&faults, &outages);
        assert_eq!(found.is_empty(), excuses, "{faults:?} {outages:?}");
    }
}

#[test]
fn counts_the_refreshes_that_something_befell() {
    let mut history = good();
    assert_eq!(Struck::of(&history).total(), 0);
    history.grants[0].refreshes.push(Refresh { withheld: true, ..ASKED });
    assert_eq!(Struck::of(&history), Struck { withheld: 1, broker_gone: 0 });
    history.faults.push(Fault { at: 40_100, until: 41_000 });
    assert_eq!(Struck::of(&history), Struck { withheld: 1, broker_gone: 2 });
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
        grant.refreshes.push(Refresh { withheld: true, token: 1, ..ASKED });
        grant.uses[1] = 2;
    };
    assert_eq!(planted(found_out), []);
}

#[test]
fn finds_a_broken_audit() {
    assert_eq!(check(&History::default()), [Violation::Audit]);
}
