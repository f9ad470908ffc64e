//! The filter's API as an intruder on the same machine would speak it.

use std::path::Path;

use hyper_util::rt::TokioIo;
use sallyport_proto::broker::{AcquireCredentialRequest, broker_client::BrokerClient};
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
