//! Bodies: what is judged is what goes upstream, and nothing goes before it is judged (threats R and H4, H5).

#[path = "bodies/bytes.rs"]
mod bytes;
#[path = "bodies/framing.rs"]
mod framing;
#[path = "bodies/json.rs"]
mod json;
#[path = "bodies/limits.rs"]
mod limits;
