//! Whether identity providers and token endpoints can be reached from here, and what time it is there.
//!
//! An endpoint is asked by a GET without anything: whatever it answers, TLS was verified and somebody speaks HTTP. No
//! credential is sent to find out.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::header::DATE;
use url::Url;

use super::Finding;
use super::clocks::{Clocks, Told};
use crate::causes;
use crate::clock::UnixTime;
use crate::fetch::{Fetcher, Request};

/// How many are asked at once.
const AT_ONCE: usize = 8;

/// An answer that takes longer is worth a look: callers wait for it.
const SLOW: Duration = Duration::from_secs(1);

/// Somebody the broker fetches from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// For example `provider github` or `issuer https://login.example.com`.
    pub(super) check: String,
    pub(super) url: Url,
}

/// Asks each of them; the last findings are about the clocks.
pub(super) async fn findings(fetcher: &Fetcher, clocks: &Clocks<'_>, places: Vec<Place>) -> Vec<Finding> {
    let asked = places.into_iter().map(|place| ask(fetcher, clocks, place));
    let asked: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
    let (mut findings, told): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    findings.extend(clocks.findings(&told.into_iter().flatten().collect::<Vec<_>>()));
    findings
}

async fn ask(fetcher: &Fetcher, clocks: &Clocks<'_>, place: Place) -> (Finding, Option<Told>) {
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
    let heard = there.map(|there| clocks.beside(UnixTime(u64::try_from(there.as_millis()).unwrap_or(u64::MAX))));
    let told = format!("{origin} answers in {} ms", took.as_millis());
    if took > SLOW {
        return (
            Finding::warning(check, told, "callers wait for it when a token is renewed; see what is slow in between"),
            heard,
        );
    }
    (Finding::good(check, told), heard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[tokio::test]
    async fn a_place_that_is_not_reached_is_named_with_the_cause() {
        let fetcher = Fetcher::new(&[], None).unwrap();
        let place =
            Place { check: "provider p".to_owned(), url: Url::parse("https://127.0.0.1:1/token?canary").unwrap() };
        let findings = findings(&fetcher, &Clocks::of_machine(&crate::clock::SystemClock), vec![place]).await;
        assert_eq!((findings[0].verdict(), findings[0].check.as_str()), (Verdict::Bad, "provider p"));
        assert!(
            findings[0].told.contains("https://127.0.0.1:1 was not reached: the host has no address"),
            "{}",
            findings[0].told
        );
        assert!(!findings[0].told.contains("canary"), "of a URL only the origin is told");
    }
}
