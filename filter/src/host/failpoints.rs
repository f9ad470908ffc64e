//! Traps on request, so that tests see what Envoy makes of a trap of this filter (H2). Only with the feature
//! `failpoints`: who could ask a gateway in service for a trap could keep it down.

use proxy_wasm::types::MapType;

/// The request header that says where to trap.
const TRIGGER: &[u8] = b"x-sallyport-failpoint";

/// Traps if the request of this stream asks for it here.
pub(super) fn reach(place: &[u8]) {
    let asked = super::head(MapType::HttpRequestHeaders)
        .is_some_and(|head| head.iter().any(|(name, value)| name == TRIGGER && value == place));
    if asked {
        // Also what a search of the module finds: the comparison above is compiled to numbers.
        log::error!("x-sallyport-failpoint: trapping, as the request asks");
        core::arch::wasm32::unreachable()
    }
}
