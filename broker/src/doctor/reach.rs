//! Whether identity providers and token endpoints can be reached from here, and what time it is there.
//!
//! An endpoint is asked by a GET without anything: whatever it answers, TLS was verified and somebody speaks HTTP. No
//! credential is sent to find out.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::header::DATE;
use url::Url;

use super::Finding;
use crate::causes;
use crate::clock::{Clock, UnixTime};
use crate::fetch::{Fetcher, Request};

/// How many are asked at once.
const AT_ONCE: usize = 8;

/// An answer that takes longer is worth a look: callers wait for it.
const SLOW: Duration = Duration::from_secs(1);

/// A clock may differ by as much before it is worth a look; `Date` has whole seconds.
const NOTICED: Duration = Duration::from_secs(10);

/// Tokens are taken for so long after they expire, and no longer: beyond it, good ones are refused.
const LEEWAY: Duration = Duration::from_secs(60);

/// Somebody the broker fetches from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// For example `provider github` or `issuer https://login.example.com`.
    pub(super) check: String,
    pub(super) url: Url,
}

/// Asks each of them; the last finding is about the clock.
pub(super) async fn findings(fetcher: &Fetcher, clock: &dyn Clock, places: Vec<Place>) -> Vec<Finding> {
    let asked = places.into_iter().map(|place| ask(fetcher, clock, place));
    let asked: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
    let (mut findings, skews): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    findings.push(of_clock(skews.into_iter().flatten().collect()));
    findings
}

/// How far the clock there is ahead of ours, in milliseconds, if it tells.
type Skew = i64;

async fn ask(fetcher: &Fetcher, clock: &dyn Clock, place: Place) -> (Finding, Option<Skew>) {
    let Place { check, url } = place;
    let origin = url.origin().ascii_serialization();
    let begun = Instant::now();
    let answer = match fetcher.send(Request::get(url)).await {
        Ok(answer) => answer,
        Err(error) => {
            let told = format!("{origin} was not reached: {}", causes::told(&error));
            let remedy = "let this machine connect there (name, route, proxy, network.allow), and trust its certificate authority (network.ca_file)";
            return (Finding::bad(check, told, remedy), None);
        }
    };
    let took = begun.elapsed();
    let date = answer
        .headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| httpdate::parse_http_date(date).ok());
    let there = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let skew = there.map(|there| difference(u64::try_from(there.as_millis()).unwrap_or(u64::MAX), clock.now()));
    let told = format!("{origin} answers in {} ms", took.as_millis());
    if took > SLOW {
        return (
            Finding::warning(check, told, "callers wait for it when a token is renewed; see what is slow in between"),
            skew,
        );
    }
    (Finding::good(check, told), skew)
}

fn difference(there: u64, here: UnixTime) -> Skew {
    i64::try_from(there).unwrap_or(i64::MAX).saturating_sub_unsigned(here.0)
}

/// By the one in the middle: a single wrong clock elsewhere does not accuse ours.
fn of_clock(mut skews: Vec<Skew>) -> Finding {
    const CHECK: &str = "clock";
    skews.sort_unstable();
    let Some(&skew) = skews.get(skews.len() / 2) else {
        return Finding::warning(
            CHECK,
            "nobody told the time to compare with",
            "compare this machine's clock by hand: `timedatectl`",
        );
    };
    let (off, asked) = (Duration::from_millis(skew.unsigned_abs()), skews.len());
    let side = if skew > 0 { "behind" } else { "ahead of" };
    let told = format!("{:.1} s {side} the {asked} that told the time", off.as_secs_f64());
    let remedy = "set this machine's clock, and keep it so (NTP): tokens are judged by it";
    match off {
        _ if off > LEEWAY => Finding::bad(CHECK, told, remedy),
        _ if off > NOTICED => Finding::warning(CHECK, told, remedy),
        _ => Finding::good(CHECK, format!("within {} s of the {asked} that told the time", NOTICED.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_is_judged_by_most_of_those_that_told_the_time() {
        for (skews, verdict, told) in [
            (vec![], Verdict::Warning, "nobody told"),
            (vec![400, -900, 300], Verdict::Good, "within 10 s of the 3"),
            (vec![0, 200, 86_400_000], Verdict::Good, "within"),
            (vec![30_000, 31_000, 0], Verdict::Warning, "30.0 s behind"),
            (vec![-3_600_000, -3_600_500, 9], Verdict::Bad, "3600.0 s ahead of"),
        ] {
            let finding = of_clock(skews.clone());
            assert_eq!(finding.verdict(), verdict, "{skews:?}");
            assert!(finding.told.contains(told), "{}", finding.told);
        }
    }

    #[tokio::test]
    async fn a_place_that_is_not_reached_is_named_with_the_cause() {
        let fetcher = Fetcher::new(&[], None).unwrap();
        let place =
            Place { check: "provider p".to_owned(), url: Url::parse("https://127.0.0.1:1/token?canary").unwrap() };
        let findings = findings(&fetcher, &crate::clock::SystemClock, vec![place]).await;
        assert_eq!((findings[0].verdict(), findings[0].check.as_str()), (Verdict::Bad, "provider p"));
        assert!(
            findings[0].told.contains("https://127.0.0.1:1 was not reached: the host has no address"),
            "{}",
            findings[0].told
        );
        assert!(!findings[0].told.contains("canary"), "of a URL only the origin is told");
    }
}
