use sallyport_proto::broker::acquire_credential_response::Answer;
use sallyport_proto::broker::broker_client::BrokerClient;
use sallyport_proto::broker::update;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::ServiceExt as _;

use super::*;
use crate::harden::effective_uid;
use crate::peer::Scope;
use crate::service::tests::Fixture;

struct Served {
    fixture: Fixture,
    channel: Channel,
    client: BrokerClient<Channel>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    _dir: tempfile::TempDir,
}

/// Envoy's own API, with nothing to say.
pub(super) fn no_resources() -> Ads {
    Ads::new(tokio::sync::watch::channel(Arc::default()).1, CancellationToken::new())
}

async fn serve() -> Served {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/broker.sock");
    let listener = socket::bind(&path, &[(effective_uid(), Scope::Every)]).unwrap();
    let fixture = Fixture::new().await;
    let stop = CancellationToken::new();
    let pages = axum::Router::new().route("/page", axum::routing::get(async || "a page"));
    let router = router(fixture.service.clone(), no_resources(), pages, stop.clone());
    let serving =
        tokio::spawn(router.serve_with_incoming_shutdown(listener.incoming(), stop.clone().cancelled_owned()));
    let connect = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://broker").connect_with_connector(connect).await.unwrap();
    Served { fixture, client: BrokerClient::new(channel.clone()), channel, stop, serving, _dir: dir }
}

#[tokio::test]
async fn pages_are_served_where_proxies_come_in_beside_their_apis() {
    let served = serve().await;
    for (path, status) in [("/page", 200), ("/metrics", 404), ("/sallyport.broker.v1.Broker/Nothing", 200)] {
        let request = Request::get(format!("http://broker{path}")).body(Body::empty()).unwrap();
        let answer = served.channel.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn h17_a_caller_is_believed_by_its_token_alone() {
    let mut served = serve().await;
    let good = served.fixture.alice("header");
    let forged = AcquireCredentialRequest { token: "alice@example.com".into(), ..good.clone() };
    let answer = served.client.acquire_credential(forged).await.unwrap().into_inner().answer;
    assert!(matches!(answer, Some(Answer::Denied(_))));
    let answer = served.client.acquire_credential(good).await.unwrap().into_inner().answer;
    assert!(matches!(answer, Some(Answer::Credential(_))));
}

#[tokio::test]
async fn streams_a_snapshot_until_the_broker_stops() {
    let mut served = serve().await;
    let request = WatchSnapshotRequest { proxy: "envoy-1".into(), version: 0, filter_version: "1".into() };
    let mut updates = served.client.watch_snapshot(request).await.unwrap().into_inner();
    let first = updates.message().await.unwrap().unwrap();
    assert!(matches!(first.update, Some(update::Update::Full(snapshot)) if snapshot.servers.len() == 7));
    served.stop.cancel();
    while let Ok(Some(_)) = updates.message().await {}
    drop((updates, served.client));
    served.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn refuses_a_proxy_without_a_name_and_a_batch_without_a_number() {
    let mut served = serve().await;
    let status = served.client.watch_snapshot(WatchSnapshotRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = served.client.record_calls(RecordCallsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn refuses_messages_beyond_the_limit() {
    let mut served = serve().await;
    let large = AcquireCredentialRequest { target: "x".repeat(MAX_MESSAGE + 1), ..served.fixture.alice("header") };
    assert_eq!(served.client.acquire_credential(large).await.unwrap_err().code(), Code::OutOfRange);
}
