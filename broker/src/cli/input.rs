//! Values that are no arguments, which others on the machine could see.

use std::io::{IsTerminal, Read};
use std::path::Path;

use super::Failure;

/// What is in the file, or comes on standard input; one line break at its end is left out.
pub(super) fn value(from_file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    match from_file {
        Some(file) => {
            value = std::fs::read(file)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display()), ""))?;
        }
        None => {
            let mut input = std::io::stdin().lock();
            if input.is_terminal() {
                eprintln!("type the value, then a line break and Ctrl-D");
            }
            input
                .read_to_end(&mut value)
                .map_err(|error| Failure::new(format!("cannot read the value: {error}"), ""))?;
        }
    }
    // Editors and `echo` add one; no key or token ends in one.
    for end in [b'\n', b'\r'] {
        if value.last() == Some(&end) {
            value.pop();
        }
    }
    if value.is_empty() {
        return Err(Failure::new("the value is empty", "give it on standard input, or with `--from-file FILE`"));
    }
    Ok(value)
}
