//! What a broker's work takes over each store, durability on.

use std::{ops::Range, time::Duration};

use anyhow::Result;
use e2e::Program;
use serde_json::{Value, json};

use crate::{
    Options,
    cores::Cores,
    durability, misses, refreshes, releases,
    site::{Site, Store},
};

/// Every row, store by store.
pub(crate) const ROWS: [&str; 8] = [
    "release of a cached credential, SQLite",
    "miss, SQLite",
    "refresh overhead beyond the provider's own time, SQLite",
    "provider's last byte to durable commit, SQLite",
    "release of a cached credential, Postgres + KMS",
    "miss, Postgres + KMS",
    "refresh overhead beyond the provider's own time, Postgres + KMS",
    "provider's last byte to durable commit, Postgres + KMS",
];

/// Each store with its rows, and its budget from the provider's last byte to the durable commit, milliseconds at p99.
const STORES: [(Store, Range<usize>, f64); 2] = [(Store::Sqlite, 0..4, 5.0), (Store::Postgres, 4..8, 10.0)];

/// As GitHub's; up to three quarters of it are over, and nothing falls due while it is measured.
const LIFE: Duration = Duration::from_secs(8 * 3_600);

/// Measures the rows that are wanted.
///
/// # Errors
/// When something does not do its work, or is not durable.
pub(crate) async fn measure(options: &Options, cores: Cores) -> Result<Value> {
    let mut report = json!({});
    for (store, rows, budget) in STORES {
        let [cached, missed, overhead, commit] = std::array::from_fn(|row| ROWS[rows.start + row]);
        if !options.wants_any(&ROWS[rows]) {
            continue;
        }
        let program = match (options.without_durability, store) {
            (true, Store::Sqlite) => Program::without_durability(),
            _ => options.program(),
        };
        println!("\n{}, broker {}, on a core of its own", store.name(), program.file().display());
        let mut site = Site::start(store, program, cores.gateway).await?;
        if options.without_durability && store == Store::Postgres {
            site.without_durability().await;
        }
        let durable = durability::check(&site).await?;
        let people = usize::from(options.people);
        let once = releases::PEOPLE..releases::PEOPLE + people;
        let over = once.end..once.end + people;
        let refreshes = options.wants(overhead) || options.wants(commit);
        site.stop().await;
        for (is_wanted, who, life) in [
            (options.wants(cached), 0..releases::PEOPLE, LIFE),
            (options.wants(missed), once.clone(), LIFE),
            (refreshes, over.clone(), Duration::ZERO),
        ] {
            if is_wanted {
                site.seed(who, life).await;
            }
        }
        site.restart().await?;
        let mut figures = json!({"durable": durable});
        if options.wants(cached) {
            figures["release"] = json!(releases::measure(cached, &site, options).await?);
        }
        if options.wants(missed) {
            figures["miss"] = json!(misses::measure(missed, &mut site, once).await?);
        }
        if refreshes {
            let refreshed = refreshes::measure(&mut site, over).await?;
            if options.wants(overhead) {
                refreshed.print_overhead(overhead);
            }
            if options.wants(commit) {
                refreshed.print_commit(commit, budget);
            }
            figures["refresh_ms"] = json!(refreshed);
        }
        report[store.name()] = figures;
    }
    Ok(report)
}
