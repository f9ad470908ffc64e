//! What proxies report, and of which proxy that is the word.

use sallyport_proto::broker::Refusal;

use super::*;
use crate::peer::San;

#[tokio::test]
async fn i3_i7_records_name_the_proxy_that_its_connection_proves_and_take_nothing_of_what_it_does_not_serve() {
    let fixture = Fixture::new().await;
    let edge = Peer {
        identity: PeerIdentity::San(San::Dns("edge.example".into())),
        scope: Scope::Groups(["other".to_owned()].into()),
    };
    let used = |server: &str| Use { use_handle: "h1".into(), server: server.into(), ..Use::default() };
    let refused = |server: &str| Refusal { server: server.into(), reason: "policy".into(), ..Refusal::default() };
    let batch = RecordCallsRequest {
        proxy: "envoy-1".into(),
        worker: "w0".into(),
        epoch_ms: START.0,
        sequence: 1,
        uses: vec![used("other/ledger"), used("demo/header"), used("otherwise/x"), used("")],
        refusals: vec![refused("other/ledger"), refused("demo/header"), refused("")],
        ..RecordCallsRequest::default()
    };
    // It gives itself another's name, and the numbers of its worker.
    fixture.service.record_calls(&edge, batch.clone()).await.unwrap();
    let (used, refused) = (fixture.rows("call.used").await, fixture.rows("call.refused").await);
    assert_eq!((used.len(), refused.len()), (1, 2), "{used:?} {refused:?}");
    for row in used.iter().chain(&refused) {
        assert!(row.contains(r#""peer":"dns:edge.example","proxy":"envoy-1""#) && !row.contains("demo/"), "{row}");
    }
    let told = fixture.rows("calls.gap").await;
    assert!(told.len() == 1 && told[0].contains("4 reports of servers that the proxy does not serve"), "{told:?}");
    fixture.service.record_calls(&gateway(), batch).await.unwrap();
    assert_eq!(fixture.rows("call.used").await.len(), 5, "the other's own first batch is no repeated one");
    fixture.credential(&fixture.alice("header")).await;
    let released = fixture.rows("credential.release").await;
    assert!(released[0].contains(r#""peer":"uid:7""#), "{released:?}");
}
