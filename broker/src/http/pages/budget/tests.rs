//! Buckets, and whose they are.

use super::*;
use crate::service::tests::Fixture;

fn source(headers: &[&str]) -> Source {
    let mut map = HeaderMap::new();
    for value in headers {
        map.append(SOURCE, value.parse().expect("a header"));
    }
    Source::of(&map)
}

fn number(number: u32) -> Source {
    Source(Some(IpAddr::V4(number.into())))
}

#[test]
fn a_stranger_with_a_network_of_addresses_is_one_source() {
    assert_eq!(source(&["2001:db8::1"]), source(&["2001:db8:0:0:ffff::2"]));
    assert_ne!(source(&["2001:db8::1"]), source(&["2001:db8:0:1::1"]));
    assert_eq!(source(&["192.0.2.1"]), source(&["::ffff:192.0.2.1"]));
    assert_ne!(source(&["192.0.2.1"]), source(&["192.0.2.2"]));
    for unknown in [&[][..], &[""], &["-"], &["192.0.2.1:80"], &["192.0.2.1, 192.0.2.2"], &["192.0.2.1", "192.0.2.2"]] {
        assert_eq!(source(unknown), Source(None), "{unknown:?}");
    }
}

#[tokio::test]
async fn one_source_runs_short_alone_and_recovers_by_itself() {
    let fixture = Fixture::new().await;
    let budget = Budget::new(fixture.audit.clone(), Arc::clone(&fixture.clock) as Arc<dyn Clock>);
    let taken = |source, times: u32| (0..times).filter(|_| budget.take(source).is_ok()).count();
    assert_eq!(taken(number(1), 10_000), 600);
    assert_eq!(budget.take(number(1)).err(), Some(ONE.every));
    assert_eq!(taken(number(2), 10), 10, "nobody else does");
    fixture.clock.advance(Duration::from_secs(12));
    assert_eq!(taken(number(1), 10), 2);
    fixture.clock.advance(Duration::from_secs(86_400));
    assert_eq!(taken(number(1), 10_000), 600, "never more than that at once");
}

#[tokio::test]
async fn all_sources_together_run_short_and_what_they_cannot_have_costs_them_nothing() {
    let fixture = Fixture::new().await;
    let budget = Budget::new(fixture.audit.clone(), Arc::clone(&fixture.clock) as Arc<dyn Clock>);
    assert_eq!((0..10_000).filter(|n| budget.take(number(*n)).is_ok()).count(), 3_000);
    assert_eq!((0..10_000).filter(|_| budget.take(number(7_777)).is_ok()).count(), 0);
    fixture.clock.advance(Duration::from_millis(500) * 700);
    assert_eq!((0..10_000).filter(|_| budget.take(number(7_777)).is_ok()).count(), 600);
}

#[tokio::test]
async fn a_clock_that_was_set_back_locks_nobody_out_for_longer() {
    let (bucket, now) = (Bucket::default(), UnixTime(1_800_000_000_000));
    assert!((0..600).all(|_| bucket.take(ONE, now).is_ok()));
    let earlier = UnixTime(now.0 - 86_400_000);
    assert_eq!(bucket.take(ONE, earlier), Err(ONE.every));
    assert_eq!(bucket.take(ONE, earlier.after(ONE.every)), Ok(()));
}
