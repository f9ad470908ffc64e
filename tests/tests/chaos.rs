//! A short run of `cargo xtask chaos`; that its checker finds what it should is tested beside the checker.

use std::time::Duration;

use e2e::{
    chaos::{Options, run as chaos},
    run,
};

#[test]
fn l4_l5_l6_a_fleet_whose_parts_are_killed_paused_and_restarted_keeps_what_it_promises() {
    run(async {
        let report = chaos(&Options { seed: 22, time: Duration::from_secs(16), people: 2 }).await;
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
