//! A broker that cannot read its store tells no proxy that it is up to date.

use super::*;

/// Whether the proxy hears anything in the next five seconds, by the paused clock.
async fn hears(updates: &mut (impl Stream<Item = Update> + Unpin)) -> Option<&'static str> {
    let next = tokio::time::timeout(Duration::from_secs(5), updates.next()).await;
    next.ok().map(|update| kind(&update.unwrap()))
}

#[tokio::test]
async fn i11_no_proxy_is_told_that_it_is_up_to_date_by_a_broker_that_cannot_know() {
    let fixture = Fixture::new().await;
    let version = fixture.publisher.current().snapshot.version;
    let reads = fixture.publisher.reads();
    tokio::time::pause();
    for what in [Read::Revocations, Read::Policy, Read::Ended] {
        [Read::Revocations, Read::Policy, Read::Ended].into_iter().for_each(|read| reads.read(read));
        let mut updates = Box::pin(fixture.publisher.updates(version, Scope::Every));
        assert_eq!(hears(&mut updates).await, Some("heartbeat"));
        // The others go on being read.
        let others = || [Read::Revocations, Read::Policy, Read::Ended].into_iter().filter(|other| *other != what);
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(1)).await;
            others().for_each(|other| reads.read(other));
        }
        assert_eq!(reads.overdue().into_iter().map(|(what, _)| what).collect::<Vec<_>>(), [what]);
        assert_eq!(hears(&mut updates).await, None, "{what:?}");
        let mut late = Box::pin(fixture.publisher.updates(0, Scope::Every));
        assert_eq!(hears(&mut late).await, None, "{what:?}: nor one that comes now");
        fixture.publisher.ended("g", Generation(1));
        assert_eq!(hears(&mut updates).await, Some("hold"), "what is known to have ended is told all the same");
        [Read::Revocations, Read::Policy, Read::Ended].into_iter().for_each(|read| reads.read(read));
        assert_eq!(hears(&mut updates).await, Some("heartbeat"));
        let mut told = Vec::new();
        while told.last() != Some(&"full") {
            [Read::Revocations, Read::Policy, Read::Ended].into_iter().for_each(|read| reads.read(read));
            told.push(hears(&mut late).await.expect("all of it, by now"));
        }
    }
}

#[tokio::test]
async fn i11_revocations_that_cannot_be_read_are_overdue() {
    let fixture = Fixture::new().await;
    fixture.publisher.publish().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(fixture.publisher.reads().overdue(), []);
    tokio::time::resume();
    fixture.store.close().await;
    fixture.publisher.publish().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(fixture.publisher.reads().overdue()[0].0, Read::Revocations);
}
