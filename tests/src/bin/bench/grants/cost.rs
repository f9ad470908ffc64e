//! CPU time of one release, by how many grants there are.

use anyhow::Result;
use serde::Serialize;

use super::{SIZES, Sizes, release_all};
use crate::{Options, cores, figures::Spread};

/// The same people call at every size.
const PEOPLE: usize = SIZES[0];
/// How often each of them does once their credentials are in memory.
const TIMES: usize = 10;
/// Releases before anything is measured.
const WARM_UP: usize = 50;
/// Budget: how much more or less a release may cost than with the fewest grants.
const BUDGET: f64 = 0.1;

/// The row.
#[derive(Serialize)]
pub(super) struct Cost {
    name: &'static str,
    sizes: Vec<Size>,
}

/// With so many grants.
#[derive(Serialize)]
struct Size {
    grants: usize,
    /// CPU time of the broker for a release from memory, microseconds.
    cached_us: Spread,
    /// The same for one from the store.
    missed_us: Spread,
    /// By that with the fewest grants, round by round: from memory, from the store.
    ratios: [Spread; 2],
}

/// Measures it: in each round each broker starts, and the same people come.
///
/// # Errors
/// When one gets no credential.
pub(super) async fn measure(name: &'static str, sizes: &mut Sizes, options: &Options) -> Result<Cost> {
    let mut costs: Vec<[Vec<f64>; 2]> = vec![Default::default(); sizes.brokers.len()];
    let tokens = sizes.site.tokens(0..PEOPLE);
    for round in 0..usize::from(options.rounds) {
        for step in 0..sizes.brokers.len() {
            // There and back: what drifts in one direction meets all alike.
            let at = if round % 2 == 0 { step } else { sizes.brokers.len() - 1 - step };
            let api = sizes.start(at).await?;
            let alice = sizes.site.token("alice");
            release_all(&api, std::iter::repeat_n(alice, WARM_UP)).await?;
            let process = sizes.brokers[at].1.child().pid();
            for (kind, times) in [(1, 1), (0, TIMES)] {
                let before = cores::cpu_time(process)?;
                release_all(&api, (0..times).flat_map(|_| tokens.iter().cloned())).await?;
                let cpu = cores::cpu_time(process)? - before;
                costs[at][kind].push(cpu.as_secs_f64() / (times * PEOPLE) as f64 * 1e6);
            }
            sizes.brokers[at].1.stop().await;
        }
    }
    let fewest = &costs[0];
    let ratio = |cost: &[Vec<f64>; 2], kind: usize| {
        Spread::of(cost[kind].iter().zip(&fewest[kind]).map(|(cost, fewest)| cost / fewest))
    };
    let of_size = |((grants, _), cost): (&(usize, _), &[Vec<f64>; 2])| Size {
        grants: *grants,
        cached_us: Spread::of(cost[0].iter().copied()),
        missed_us: Spread::of(cost[1].iter().copied()),
        ratios: [ratio(cost, 0), ratio(cost, 1)],
    };
    let cost = Cost { name, sizes: sizes.brokers.iter().zip(&costs).map(of_size).collect() };
    cost.print();
    Ok(cost)
}

impl Cost {
    fn print(&self) {
        println!("\n{}", self.name);
        println!(
            "  {:>8} {:>26} {:>16} {:>26} {:>16}",
            "grants", "from memory, CPU µs", "ratio", "from the store, CPU µs", "ratio"
        );
        for Size { grants, cached_us, missed_us, ratios: [cached, missed] } in &self.sizes {
            let (cached_us, missed_us) = (cached_us.show(0), missed_us.show(0));
            let (cached, missed) = (cached.median, missed.median);
            println!("  {grants:>8} {cached_us:>26} {cached:>16.2} {missed_us:>26} {missed:>16.2}");
        }
        let is_flat = |ratio: &Spread| (ratio.median - 1.0).abs() <= BUDGET;
        let verdict = if self.sizes.iter().all(|size| size.ratios.iter().all(is_flat)) { "met" } else { "missed" };
        println!("  budget: every ratio within ±{:.0} %: {verdict}", BUDGET * 100.0);
    }
}
