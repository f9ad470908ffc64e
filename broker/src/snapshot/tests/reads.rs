//! A broker that cannot read its store tells no proxy that it is up to date.

use super::*;

const ALL: [Read; 3] = [Read::Revocations, Read::Policy, Read::Ended];
const LONG: Duration = Duration::from_secs(3);

async fn next(updates: &mut (impl Stream<Item = Update> + Unpin)) -> &'static str {
    kind(&tokio::time::timeout(Duration::from_secs(20), updates.next()).await.unwrap().unwrap())
}

/// Whether a proxy hears nothing for longer than two heartbeats.
async fn is_silent(updates: &mut (impl Stream<Item = Update> + Unpin)) -> bool {
    tokio::time::timeout(HEARTBEAT * 5 / 2, updates.next()).await.is_err()
}

#[test]
fn i11_each_of_what_other_brokers_do_has_to_be_read() {
    let reads = Reads::default();
    assert!(reads.are_fresh(), "what nobody follows is not waited for");
    for what in ALL {
        ALL.into_iter().for_each(|read| reads.read(read));
        assert!(reads.are_fresh());
        reads.read_before(what, LONG);
        let overdue = reads.overdue();
        assert!(
            !reads.are_fresh() && overdue.len() == 1 && overdue[0].0 == what && LONG <= overdue[0].1,
            "{overdue:?}"
        );
        reads.read(what);
        assert!(reads.are_fresh());
    }
}

#[tokio::test]
async fn i11_no_proxy_is_told_that_it_is_up_to_date_by_a_broker_that_cannot_know() {
    let fixture = Fixture::new().await;
    let version = fixture.publisher.current().snapshot.version;
    let reads = fixture.publisher.reads();
    let mut updates = Box::pin(fixture.publisher.updates(version, Scope::Every));
    assert_eq!(next(&mut updates).await, "heartbeat");
    reads.read_before(Read::Ended, LONG);
    fixture.servers.send_replace(Arc::new(servers(&["a/two"])));
    fixture.publisher.publish().await;
    let mut late = Box::pin(fixture.publisher.updates(0, Scope::Every));
    let (one, other) = tokio::join!(is_silent(&mut updates), is_silent(&mut late));
    assert!(one && other, "neither who is there nor who comes now");
    fixture.publisher.ended("g", Generation(1));
    for updates in [&mut updates, &mut late] {
        assert_eq!(next(updates).await, "hold", "what is known to have ended is told all the same");
    }
    ALL.into_iter().for_each(|read| reads.read(read));
    assert_eq!((next(&mut updates).await, next(&mut late).await), ("delta", "full"));
}

#[tokio::test]
async fn i11_revocations_that_cannot_be_read_are_overdue() {
    let fixture = Fixture::new().await;
    let reads = fixture.publisher.reads();
    reads.read_before(Read::Revocations, LONG);
    fixture.publisher.publish().await;
    assert!(reads.are_fresh());
    reads.read_before(Read::Revocations, LONG);
    fixture.store.close().await;
    fixture.publisher.publish().await;
    assert_eq!(reads.overdue().len(), 1);
}
