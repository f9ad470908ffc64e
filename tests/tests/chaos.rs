//! A short run of `cargo xtask chaos`; that its checker finds what it should is tested beside the checker.

use std::time::Duration;

use e2e::{
    chaos::{Options, Part, run as chaos},
    rounds, run,
};

/// A short one, or one in which Postgres is away for longer than a broker's right to ask a provider lasts.
fn options() -> Options {
    let time = Duration::from_secs(rounds(16, 100) as u64);
    let of_seed = |seed| Options { seed, time, people: 2 };
    let has_long = |options: &Options| {
        options.plan().0.iter().any(|one| one.part == Part::Postgres && one.lasts > Duration::from_secs(24))
    };
    match time > Duration::from_secs(60) {
        false => of_seed(22),
        true => (22..).map(of_seed).find(has_long).expect("one has"),
    }
}

#[test]
fn l4_l5_l6_a_fleet_whose_parts_are_killed_paused_and_restarted_keeps_what_it_promises() {
    run(async {
        let report = chaos(&options()).await;
        println!("{report}");
        assert!(report.is_good(), "{report}");
        let deeds =
            ["killed", "paused"].map(|deed| ["a broker", "Postgres", "Redis"].map(|part| format!("{part} {deed}")));
        let others = ["a broker restarted".to_owned(), "a provider loses its answer".to_owned()];
        for deed in deeds.as_flattened().iter().chain(&others) {
            assert!(report.deeds.contains_key(deed), "{deed}: {report}");
        }
        assert!(report.struck.withheld > 0, "{report}");
        for row in &report.rows {
            assert!(row.served > 0 && row.refreshed > row.people, "{report}");
        }
    });
}
