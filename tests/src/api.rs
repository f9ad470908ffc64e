//! The filter's API as an intruder on the same machine would speak it.

use std::path::Path;

use hyper_util::rt::TokioIo;
use prost::Message;
use sallyport_proto::{
    admin::{QueryAuditRequest, admin_client::AdminClient},
    broker::{AcquireCredentialRequest, WatchSnapshotRequest, broker_client::BrokerClient, update::Update},
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::Server;

/// Connects to the broker's socket.
pub async fn broker_api(socket: &Path) -> Result<BrokerClient<Channel>, tonic::transport::Error> {
    let socket = socket.to_path_buf();
    let connect = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    // The address is not used: the connector knows the socket.
    let channel = Endpoint::from_static("http://broker").connect_with_connector(connect).await?;
    Ok(BrokerClient::new(channel))
}

/// What the filter asks for a call of the tool `echo`.
pub fn acquire(token: &str, server: &Server) -> AcquireCredentialRequest {
    AcquireCredentialRequest {
        token: token.to_owned(),
        server: server.name.clone(),
        method: "tools/call".to_owned(),
        target: "echo".to_owned(),
        request_id: crate::unique("request"),
        source_address: "127.0.0.1".to_owned(),
        proxy: "intruder".to_owned(),
        ..AcquireCredentialRequest::default()
    }
}

/// Every audit record so far, oldest first, as the operator's API tells them.
///
/// # Panics
/// When the socket does not answer.
pub async fn audit_records(admin_socket: &Path) -> Vec<serde_json::Value> {
    let socket = admin_socket.to_path_buf();
    let connect = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let channel = Endpoint::from_static("http://admin").connect_with_connector(connect).await.expect("it listens");
    let request = QueryAuditRequest { limit: 100_000, ..QueryAuditRequest::default() };
    let mut stream = AdminClient::new(channel).query_audit(request).await.expect("it answers").into_inner();
    let mut records = Vec::new();
    while let Some(record) = stream.message().await.expect("it goes on") {
        records.push(serde_json::from_str(&record.json).expect("one JSON object a record"));
    }
    records
}

/// The first snapshot a proxy is sent, encoded.
///
/// # Panics
/// When none comes.
pub async fn snapshot(socket: &Path) -> Vec<u8> {
    let mut api = broker_api(socket).await.expect("the same user may connect");
    let request = WatchSnapshotRequest { proxy: crate::unique("gateway"), version: 0, filter_version: String::new() };
    let mut updates = api.watch_snapshot(request).await.expect("it answers").into_inner();
    while let Some(update) = updates.message().await.expect("it goes on") {
        if let Some(Update::Full(snapshot)) = update.update {
            return snapshot.encode_to_vec();
        }
    }
    panic!("the stream ended without a snapshot");
}
