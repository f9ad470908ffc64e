//! Calls to the broker over gRPC.

use std::time::Duration;

use prost::Message;
use proxy_wasm::hostcalls;
use proxy_wasm::types::BufferType;

const SERVICE: &str = "sallyport.broker.v1.Broker";

/// A call could not even be made.
#[derive(Debug)]
pub(super) struct NotSent;

/// Calls a method of the broker on behalf of the stream or root whose callback this is; answers the call's token.
pub(super) fn dispatch(cluster: &str, method: &str, message: &[u8], timeout_ms: u64) -> Result<u32, NotSent> {
    let timeout = Duration::from_millis(timeout_ms);
    hostcalls::dispatch_grpc_call(cluster, SERVICE, method, Vec::new(), Some(message), timeout).map_err(|status| {
        log::warn!("broker call {method} could not be made: {status:?}");
        NotSent
    })
}

/// Opens the snapshot stream; answers its token.
pub(super) fn watch(cluster: &str, request: &impl Message) -> Result<u32, NotSent> {
    let stream = hostcalls::open_grpc_stream(cluster, SERVICE, "WatchSnapshot", Vec::new()).map_err(|_| NotSent)?;
    hostcalls::send_grpc_stream_message(stream, Some(&request.encode_to_vec()), true).map_err(|_| NotSent)?;
    Ok(stream)
}

/// The bytes of an answer that came without an error.
pub(super) fn response(status: u32, size: usize) -> Option<Vec<u8>> {
    if status != 0 {
        return None;
    }
    Some(hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, 0, size).ok()?.unwrap_or_default())
}
