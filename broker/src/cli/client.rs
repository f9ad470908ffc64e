//! The way to a running broker.

use sallyport_proto::admin::admin_client::AdminClient;
use tonic::transport::{Channel, Endpoint};

use super::{Failure, Global};
use crate::causes;
use crate::config::Config;

/// Connects to the admin socket that was named, or to that of the configuration.
pub(super) async fn connect(global: &Global) -> Result<AdminClient<Channel>, Failure> {
    let socket = match &global.admin_socket {
        Some(socket) => socket.clone(),
        None => Config::load(global.config())?.admin.socket,
    };
    let absolute = std::path::absolute(&socket).unwrap_or_else(|_| socket.clone());
    let unreachable = |error: tonic::transport::Error| {
        let hint = match causes::is_refused_by_the_system(&error) {
            true => "run the command as the user that runs the broker".to_owned(),
            false => format!("start it with: sallyport serve -c {}", global.config().display()),
        };
        Failure::no_broker(format!("no broker answers on {}: {}", socket.display(), causes::innermost(&error)), hint)
    };
    let endpoint = Endpoint::from_shared(format!("unix:{}", absolute.display())).map_err(unreachable)?;
    let channel = endpoint.connect().await.map_err(unreachable)?;
    Ok(AdminClient::new(channel))
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &serde_json::Value) {
    println!("{value:#}");
}
