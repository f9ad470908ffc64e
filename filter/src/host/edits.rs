//! What a step changes in Envoy: headers of a request or a response, and replies in the upstream's place.

use proxy_wasm::hostcalls;
use proxy_wasm::types::{MapType, Status};

use crate::flow::{Edit, Grant, ResponseEdit};
use crate::reject::Reply;

/// Changes the request as its grant says.
pub(super) fn request(grant: &Grant) -> Result<(), Status> {
    for edit in grant.edits() {
        match edit {
            Edit::Remove(name) => hostcalls::remove_map_value(MapType::HttpRequestHeaders, name),
            Edit::Set(name, value) => hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value)),
        }?;
    }
    log_verdict("forwarded");
    Ok(())
}

/// Changes the response of an upstream.
pub(super) fn response(edits: Vec<ResponseEdit>) {
    for edit in edits {
        let edited = match &edit {
            ResponseEdit::Remove(name) => hostcalls::remove_map_value(MapType::HttpResponseHeaders, name),
            ResponseEdit::Set(name, value) => {
                hostcalls::set_map_value_bytes(MapType::HttpResponseHeaders, name, Some(value.as_bytes()))
            }
        };
        if let Err(status) = edited {
            log::error!("a response header could not be changed: {status:?}");
        }
    }
}

/// Answers in the upstream's place.
pub(super) fn send(reply: &Reply) {
    log_verdict(reply.code);
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = (!reply.body.is_empty()).then_some(reply.body.as_slice());
    if let Err(status) = hostcalls::send_http_response(u32::from(reply.status), headers, body) {
        log::error!("a reply could not be sent: {status:?}");
    }
}

/// Cuts off an answer that is on its way; `code` says why.
pub(super) fn close(code: &str) {
    log_verdict(code);
    if let Err(status) = hostcalls::reset_http_response() {
        log::error!("an answer could not be cut off: {status:?}");
    }
}

/// The word for the access log, kept in the stream's filter state.
fn log_verdict(code: &str) {
    if let Err(status) = hostcalls::set_property(vec!["sallyport.verdict"], Some(code.as_bytes())) {
        log::error!("the verdict could not be kept for the access log: {status:?}");
    }
}
