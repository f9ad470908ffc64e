//! What the broker is asked for a request's credential, the first time and when an upstream has refused it.

use sallyport_proto::broker as proto;

use super::door::bearer;
use super::{Env, Message, Opened};

/// The one question for the credential of one request; `None` if its token cannot be told any more.
///
/// `background` says that the answer is for later requests: this one goes on with what is cached.
pub(super) fn question(
    opened: &Opened,
    message: &Message,
    background: bool,
    env: &Env<'_>,
) -> Option<proto::AcquireCredentialRequest> {
    let token = std::str::from_utf8(bearer(&opened.head).ok()?).ok()?;
    Some(proto::AcquireCredentialRequest {
        token: token.to_owned(),
        server: opened.server.name.clone(),
        method: message.method.clone(),
        target: message.target.clone(),
        request_id: opened.request_id().to_owned(),
        source_address: env.host.source_address(),
        proxy: env.worker.proxy.clone(),
        server_revision: opened.server.revision.clone(),
        snapshot_version: opened.snapshot.version,
        traceparent: opened.traceparent(),
        background,
        filter_version: crate::VERSION.to_owned(),
    })
}
