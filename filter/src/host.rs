//! The host adapter: the only module that names proxy-wasm. Turns callbacks into events and steps into host calls.
//!
//! Every stream's [`Flow`] lives in the worker's [`Hub`], not in its context, because one broker answer may move many
//! streams on. Envoy defers what a step does to a stream until the callback is over, so acting on another stream inside
//! a callback does not re-enter this VM.

mod abi;
mod broker;
mod calls;
mod edits;
#[cfg(feature = "failpoints")]
mod failpoints;
mod hub;
mod root;
mod signatures;

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType, MapType};

use crate::flow::{Env, Flow, Host, Step};
use crate::head::Head;
use hub::{Hub, Verdict};

pub(crate) use root::Root;

/// One HTTP stream: only its number; what it does is in the hub.
struct Stream {
    id: u32,
    hub: Rc<RefCell<Hub>>,
}

/// Envoy, as seen from the stream whose callback or effective context this is.
struct Envoy;

impl Host for Envoy {
    fn now_ns(&self) -> u64 {
        let since = hostcalls::get_current_time().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(u64::MAX)
    }

    fn body(&self) -> Option<Vec<u8>> {
        hostcalls::get_buffer(BufferType::HttpRequestBody, 0, usize::MAX).ok().flatten()
    }

    fn source_address(&self) -> String {
        property(&["source", "address"]).and_then(|address| String::from_utf8(address).ok()).unwrap_or_default()
    }
}

fn property(path: &[&str]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}

fn head(map: MapType) -> Option<Head> {
    Head::parse(abi::header_map(map)?).ok()
}

/// Drops every trailer: MCP has none, and one named like a header could tell an upstream what no header may (H10).
fn clear_trailers() -> Option<()> {
    let trailers = head(MapType::HttpRequestTrailers)?;
    for (name, _) in trailers.iter() {
        let name = std::str::from_utf8(name).ok()?;
        hostcalls::remove_map_value(MapType::HttpRequestTrailers, name).ok()?;
    }
    Some(())
}

impl Stream {
    /// Moves this stream's flow on by one event and does what it says.
    fn on(&self, event: impl FnOnce(Flow, &mut Env<'_>) -> (Flow, Step)) -> Action {
        match self.hub.borrow_mut().event(self.id, event) {
            Verdict::Continue => Action::Continue,
            Verdict::Pause => Action::Pause,
        }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        #[cfg(feature = "failpoints")]
        failpoints::reach(b"headers");
        let cluster = property(&["xds", "cluster_name"]);
        let head = head(MapType::HttpRequestHeaders);
        self.on(|_, env| match head {
            Some(head) => Flow::on_headers(head, cluster, end_of_stream, env),
            None => Flow::on_unreadable_headers(env),
        })
    }

    fn on_http_request_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        #[cfg(feature = "failpoints")]
        failpoints::reach(b"body");
        self.on(|flow, env| flow.on_body(body_size, end_of_stream, env))
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        #[cfg(feature = "failpoints")]
        failpoints::reach(b"trailers");
        let cleared = clear_trailers().is_some();
        self.on(|flow, env| if cleared { flow.on_trailers(env) } else { flow.on_kept_trailers(env) })
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(head) = head(MapType::HttpResponseHeaders) else {
            // Without its headers nobody can say what this response would tell the client.
            return Action::Pause;
        };
        self.on(|flow, env| flow.on_response_headers(&head, env))
    }

    fn on_http_response_body(&mut self, _: usize, _: bool) -> Action {
        self.hub.borrow().while_response(self.id)
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.hub.borrow().while_response(self.id)
    }
}

impl Context for Stream {
    fn on_grpc_call_response(&mut self, token_id: u32, status_code: u32, response_size: usize) {
        self.hub.borrow_mut().answered(token_id, calls::response(status_code, response_size), self.id);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Ok(mut hub) = self.hub.try_borrow_mut() {
            hub.gone(self.id);
        }
    }
}
