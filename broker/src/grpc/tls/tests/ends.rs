//! Connections end with what proved who is behind them.

use std::time::SystemTime;

use sallyport_proto::broker::Update;
use tonic::Streaming;

use super::*;

/// Far more than a look at the files takes, so that a machine that is busy fails nothing.
const PATIENCE: Duration = Duration::from_secs(30);

async fn watches(served: &Served, pair: &Pair) -> (BrokerClient<Channel>, Streaming<Update>) {
    let mut client = served.client(pair).await;
    let request = WatchSnapshotRequest { proxy: "envoy-1".into(), version: 0, filter_version: "1".into() };
    let mut updates = client.watch_snapshot(request).await.unwrap().into_inner();
    assert!(updates.message().await.unwrap().is_some());
    (client, updates)
}

/// Until the stream ends; how often it was heard of before.
async fn until_it_ends(mut updates: Streaming<Update>) -> usize {
    let mut heard = 0;
    let ends = async {
        while let Ok(Some(_)) = updates.message().await {
            heard += 1;
        }
    };
    tokio::time::timeout(PATIENCE, ends).await.expect("it goes on");
    heard
}

#[tokio::test]
async fn h16_who_came_in_under_an_authority_that_was_taken_out_is_heard_no_more() {
    let served = serve().await;
    let envoy = served.proxies.issue(vec![uri(ENVOY)], |_| {});
    let (mut client, updates) = watches(&served, &envoy).await;
    let file = served.dir.path().join("proxies.pem");
    std::fs::write(&file, Authority::new().pem).unwrap();
    // Nobody new comes in.
    until_it_ends(updates).await;
    assert!(client.acquire_credential(served.fixture.alice("header")).await.is_err());
}

#[tokio::test]
async fn h16_a_certificate_is_heard_until_it_expires() {
    let served = serve().await;
    let soon = SystemTime::now() + Duration::from_secs(8);
    let envoy = served.proxies.issue(vec![uri(ENVOY)], |params| params.not_after = soon.into());
    let (mut client, updates) = watches(&served, &envoy).await;
    assert!(until_it_ends(updates).await > 0, "it was heard until then");
    assert!(soon <= SystemTime::now() + Duration::from_secs(1));
    assert!(client.acquire_credential(served.fixture.alice("header")).await.is_err());
}

#[tokio::test]
async fn the_brokers_own_new_certificate_closes_nothing() {
    let served = serve().await;
    let envoy = served.proxies.issue(vec![uri(ENVOY)], |_| {});
    let (mut client, _updates) = watches(&served, &envoy).await;
    put(served.dir.path(), &served.brokers.issue(vec![dns("broker.example")], |_| {}));
    // The same authorities, written anew: whoever comes in now has the files looked at.
    std::fs::write(served.dir.path().join("proxies.pem"), &served.proxies.pem).unwrap();
    assert!(served.hears(Some(&envoy)).await);
    assert!(client.acquire_credential(served.fixture.alice("header")).await.is_ok());
}
