//! The header map as one buffer of bytes.
//!
//! The SDK's own whole-map calls unwrap header names as UTF-8, and its single-header calls show one of several values;
//! the first traps on a hostile name (H1), the second hides a repetition (J17). So the call is made here.
#![expect(unsafe_code, reason = "one function of the proxy-wasm ABI, called as its specification says")]

use proxy_wasm::types::{MapType, Status};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: MapType, data: *mut *mut u8, size: *mut usize) -> Status;
}

/// The map in the host's serialisation; `None` when the host has none to give.
pub(super) fn header_map(map: MapType) -> Option<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: both pointers are to live locals for the host to write to.
    let status = unsafe { proxy_get_header_map_pairs(map, &raw mut data, &raw mut size) };
    match status {
        Status::Ok if data.is_null() => Some(Vec::new()),
        // SAFETY: the host allocated exactly `size` bytes through this module's own allocator and gave them up to us.
        Status::Ok => Some(unsafe { Vec::from_raw_parts(data, size, size) }),
        _ => None,
    }
}
