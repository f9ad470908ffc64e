//! The filter's API as an intruder on the same machine would speak it.

use std::path::Path;

use hyper_util::rt::TokioIo;
use sallyport_proto::{
    admin::{QueryAuditRequest, admin_client::AdminClient},
    broker::{AcquireCredentialRequest, Snapshot, WatchSnapshotRequest, broker_client::BrokerClient, update::Update},
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::Server;

/// Connects to the filter's socket.
pub async fn broker_api(socket: &Path) -> Result<BrokerClient<Channel>, tonic::transport::Error> {
    Ok(BrokerClient::new(channel(socket).await?))
}

/// Connects to the operator's socket.
pub async fn admin_api(socket: &Path) -> Result<AdminClient<Channel>, tonic::transport::Error> {
    Ok(AdminClient::new(channel(socket).await?))
}

async fn channel(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_path_buf();
    let connect = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    // The address is not used: the connector knows the socket.
    Endpoint::from_static("http://broker").connect_with_connector(connect).await
}

/// What the filter asks for a call of the tool `echo`, with the server as the broker has it now.
pub async fn acquire(socket: &Path, token: &str, server: &Server) -> AcquireCredentialRequest {
    let snapshot = snapshot(socket).await;
    let published = snapshot.servers.iter().find(|published| published.name == server.name).expect("it is registered");
    AcquireCredentialRequest {
        server_revision: published.revision.clone(),
        snapshot_version: snapshot.version,
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
    let mut api = admin_api(admin_socket).await.expect("the same user may connect");
    let request = QueryAuditRequest { limit: 100_000, ..QueryAuditRequest::default() };
    let mut stream = api.query_audit(request).await.expect("it answers").into_inner();
    let mut records = Vec::new();
    while let Some(record) = stream.message().await.expect("it goes on") {
        records.push(serde_json::from_str(&record.json).expect("one JSON object a record"));
    }
    records
}

/// The first snapshot a proxy is sent.
///
/// # Panics
/// When none comes.
pub async fn snapshot(socket: &Path) -> Snapshot {
    let mut api = broker_api(socket).await.expect("the same user may connect");
    let request = WatchSnapshotRequest { proxy: crate::unique("gateway"), version: 0, filter_version: String::new() };
    let mut updates = api.watch_snapshot(request).await.expect("it answers").into_inner();
    while let Some(update) = updates.message().await.expect("it goes on") {
        if let Some(Update::Full(snapshot)) = update.update {
            return snapshot;
        }
    }
    panic!("the stream ended without a snapshot");
}
