//! A wasm module that traps on request: what Envoy's failure policy is measured with.

/// More headers than this make the module trap; fewer pass.
pub const TRAPS_BEYOND: usize = 30;
/// `local.get 1; i32.const 30; i32.gt_u; if; unreachable; end; i32.const 0; end`: local 1 is the number of headers, and
/// 0 lets the request pass.
const TRAP: &[u8] = &[0x20, 0x01, 0x41, 0x1e, 0x4b, 0x04, 0x40, 0x00, 0x0b, 0x41, 0x00, 0x0b];
/// `i32.const 1; end`.
const ONE: &[u8] = &[0x41, 0x01, 0x0b];
/// `end`.
const NOTHING: &[u8] = &[0x0b];

/// Its bytes: it starts, accepts its configuration, and traps at the headers of a request that has many.
pub fn trapping_module() -> Vec<u8> {
    // Types: 0 () -> (), 1 (i32) -> (i32), 2 (i32 i32) -> (i32), 3 (i32 i32 i32) -> (i32), 4 (i32 i32) -> ().
    let types: [&[u8]; 5] = [
        &[0x60, 0, 0],
        &[0x60, 1, 0x7f, 1, 0x7f],
        &[0x60, 2, 0x7f, 0x7f, 1, 0x7f],
        &[0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f],
        &[0x60, 2, 0x7f, 0x7f, 0],
    ];
    let functions: [(&str, u8, &[u8]); 7] = [
        ("proxy_abi_version_0_2_1", 0, NOTHING),
        ("_initialize", 0, NOTHING),
        ("proxy_on_memory_allocate", 1, ONE),
        ("proxy_on_context_create", 4, NOTHING),
        ("proxy_on_vm_start", 2, ONE),
        ("proxy_on_configure", 2, ONE),
        ("proxy_on_request_headers", 3, TRAP),
    ];
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, types.iter().map(|entry| entry.to_vec()));
    section(&mut module, 3, functions.iter().map(|(_, kind, _)| vec![*kind]));
    section(&mut module, 5, [vec![0, 1]].into_iter());
    let memory = [&[6][..], b"memory", &[2, 0]].concat();
    let exported = (0_u8..).zip(&functions).map(|(index, (name, _, _))| {
        let length = u8::try_from(name.len()).expect("short names");
        [&[length][..], name.as_bytes(), &[0, index]].concat()
    });
    section(&mut module, 7, exported.chain([memory]));
    let bodies = functions.iter().map(|(_, _, code)| {
        let length = u8::try_from(code.len() + 1).expect("short bodies");
        [&[length, 0][..], code].concat()
    });
    section(&mut module, 10, bodies);
    module
}

fn section(module: &mut Vec<u8>, id: u8, entries: impl Iterator<Item = Vec<u8>>) {
    let entries: Vec<Vec<u8>> = entries.collect();
    let count = u8::try_from(entries.len()).expect("few entries");
    let content = entries.into_iter().fold(vec![count], |content, entry| [content, entry].concat());
    module.push(id);
    let length = content.len();
    // LEB128 of at most two bytes.
    let low = u8::try_from(length & 0x7f).expect("seven bits");
    match u8::try_from(length >> 7).expect("short sections") {
        0 => module.push(low),
        high => module.extend([low | 0x80, high]),
    }
    module.extend(content);
}
