//! What was measured, in a table and as JSON.

use serde::Serialize;

/// One figure over several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Half of the rounds have less.
    pub(crate) median: f64,
    /// Of all rounds.
    pub(crate) least: f64,
    /// Of all rounds.
    pub(crate) most: f64,
}

impl Spread {
    /// Of at least one round.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Self { median: f64::midpoint(low, high), least: sorted[0], most: sorted[sorted.len() - 1] }
    }

    /// For people.
    pub(crate) fn show(&self, digits: usize) -> String {
        let Self { median, least, most } = self;
        format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}

/// One round of one side.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Answered each second.
    pub(crate) per_second: f64,
    /// CPU time of the proxy for each request, microseconds.
    pub(crate) cpu_us: f64,
    /// Share of its core that the proxy had, 0 to 1.
    pub(crate) busy: f64,
}

/// One side of a row.
#[derive(Serialize)]
pub(crate) struct Side {
    /// What it is.
    pub(crate) name: &'static str,
    /// Answered each second.
    pub(crate) requests_per_second: Spread,
    /// CPU time of the proxy for each request, microseconds.
    pub(crate) cpu_us: Spread,
    /// Share of its core that the proxy had, 0 to 1: well below 1, something else was the limit.
    pub(crate) busy: Spread,
}

impl Side {
    /// From its rounds.
    pub(crate) fn of(name: &'static str, samples: &[Sample]) -> Self {
        let spread = |figure: fn(&Sample) -> f64| Spread::of(samples.iter().map(figure));
        Self {
            name,
            requests_per_second: spread(|sample| sample.per_second),
            cpu_us: spread(|sample| sample.cpu_us),
            busy: spread(|sample| sample.busy),
        }
    }
}

/// Throughput of several sides under the same load.
#[derive(Serialize)]
pub(crate) struct Row {
    /// What is measured.
    pub(crate) name: &'static str,
    /// Least ratio that is aimed at.
    pub(crate) budget: f64,
    /// Requests per second of the gate by those of Envoy's own filters, round by round.
    pub(crate) requests_ratio: Spread,
    /// CPU time of Envoy's own filters by the gate's, round by round: the same, with less noise from other processes.
    pub(crate) cpu_ratio: Spread,
    /// The gate first, then what it is measured against, then the bare proxy.
    pub(crate) sides: Vec<Side>,
}

impl Row {
    /// From the rounds of the gate, of Envoy's own filters and of the bare proxy.
    pub(crate) fn of(name: &'static str, budget: f64, sides: [(&'static str, &[Sample]); 3]) -> Self {
        let [(_, gate), (_, native), _] = sides;
        let pairs = || gate.iter().zip(native);
        Self {
            name,
            budget,
            requests_ratio: Spread::of(pairs().map(|(gate, native)| gate.per_second / native.per_second)),
            cpu_ratio: Spread::of(pairs().map(|(gate, native)| native.cpu_us / gate.cpu_us)),
            sides: sides.into_iter().map(|(name, samples)| Side::of(name, samples)).collect(),
        }
    }

    /// For people.
    pub(crate) fn print(&self) {
        println!("\n{}", self.name);
        println!("  {:<52} {:>24} {:>24} {:>6}", "", "requests/s", "CPU µs/request", "busy");
        for Side { name, requests_per_second, cpu_us, busy } in &self.sides {
            let (rate, cpu, busy) = (requests_per_second.show(0), cpu_us.show(1), busy.median * 100.0);
            println!("  {name:<52} {rate:>24} {cpu:>24} {busy:>5.0}%");
        }
        let [gate, native, bare] = [0, 1, 2].map(|side| self.sides[side].cpu_us.median);
        println!("  CPU over the bare proxy: {:.1} µs, compared {:.1} µs", gate - bare, native - bare);
        let (rate, cpu, budget) = (self.requests_ratio.show(2), self.cpu_ratio.show(2), self.budget);
        let verdict = if self.requests_ratio.median >= budget { "met" } else { "missed" };
        println!(
            "  gate to what it is compared with: requests/s {rate}, by CPU {cpu}; budget ≥ {budget:.1}: {verdict}"
        );
    }
}

/// Latency at a fixed rate, milliseconds over that of the bare proxy in the same round.
#[derive(Serialize)]
pub(crate) struct Latency {
    /// What is measured.
    pub(crate) name: &'static str,
    /// Requests sent each second, to every side.
    pub(crate) requests_per_second: f64,
    /// Budget of the gate, milliseconds at p50 and p99.
    pub(crate) budget: [f64; 2],
    /// Gate, then Envoy's own filters: p50 and p99 over the bare proxy's.
    pub(crate) sides: Vec<(&'static str, Spread, Spread)>,
}

impl Latency {
    /// For people.
    pub(crate) fn print(&self) {
        println!("\n{} ({:.0} requests/s)", self.name, self.requests_per_second);
        for (name, p50, p99) in &self.sides {
            println!("  {name:<52} p50 +{} ms   p99 +{} ms", p50.show(3), p99.show(3));
        }
        let [p50, p99] = self.budget;
        println!("  budget of the gate: p50 ≤ {p50:.1} ms, p99 ≤ {p99:.1} ms");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of([7.0]).median, 7.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let sample = |per_second, cpu_us| Sample { per_second, cpu_us, busy: 1.0 };
        let gate = [sample(100.0, 10.0), sample(50.0, 20.0)];
        let native = [sample(200.0, 5.0), sample(100.0, 10.0)];
        let row = Row::of("row", 1.0, [("gate", &gate), ("native", &native), ("bare", &native)]);
        assert_eq!(row.requests_ratio, Spread { median: 0.5, least: 0.5, most: 0.5 });
        assert_eq!(row.cpu_ratio.median, 0.5);
    }
}
