//! Reads the body of a POST: one JSON-RPC message, or a reason why it is none.
//!
//! The verdict is about the bytes that go upstream untouched, so every reader behind the gateway must see the same
//! message as this one. Parsers differ on repeated keys, on case of keys, on what follows the first value, on broken
//! text; whatever two of them could read in two ways is refused here (R1, R2, R3).

mod id;
mod keys;
mod message;
mod scanner;

pub use id::Id;
pub use message::{Kind, Message, read};

/// Why a body is refused; with its id where that was read before the flaw.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not JSON (RFC 8259), or text that parsers read differently: JSON-RPC −32700.
    #[error("not json: {flaw}")]
    Parse {
        /// What is wrong with it.
        flaw: ParseFlaw,
        /// The request's id, if it came first.
        id: Option<Id<'static>>,
    },
    /// JSON, but not one unambiguous JSON-RPC 2.0 message: JSON-RPC −32600.
    #[error("not one json-rpc message: {flaw}")]
    Invalid {
        /// What is wrong with it.
        flaw: MessageFlaw,
        /// The request's id, if it was read.
        id: Option<Id<'static>>,
    },
}

impl BodyError {
    /// The request's id, if it was read before the flaw.
    pub fn id(&self) -> Option<&Id<'static>> {
        match self {
            Self::Parse { id, .. } | Self::Invalid { id, .. } => id.as_ref(),
        }
    }
}

/// Why bytes are not strict JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseFlaw {
    /// Invalid UTF-8, or a byte order mark.
    #[error("not utf-8 without byte order mark")]
    Utf8,
    /// The text ends inside a value.
    #[error("ends too early")]
    Truncated,
    /// A byte that JSON does not have here.
    #[error("unexpected byte")]
    Unexpected,
    /// A control character inside a string.
    #[error("control character in a string")]
    Control,
    /// An escape that JSON does not have, or half of a surrogate pair.
    #[error("bad escape in a string")]
    Escape,
    /// A number that RFC 8259 does not allow.
    #[error("bad number")]
    Number,
    /// Something follows the value.
    #[error("data after the value")]
    Trailing,
    /// Nested more deeply than 128 levels.
    #[error("nested too deeply")]
    Depth,
}

/// Why JSON is not one unambiguous JSON-RPC 2.0 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageFlaw {
    /// Neither object nor array.
    #[error("not an object")]
    NotObject,
    /// An array of messages; gone from MCP since 2025-06-18.
    #[error("a batch")]
    Batch,
    /// The same key twice, at depth 1 or 2.
    #[error("repeated key")]
    RepeatedKey,
    /// A key that some parser takes for another: other case, look-alike letters, a NUL.
    #[error("look-alike key")]
    LookAlikeKey,
    /// More keys at depth 1 or 2 than any message has.
    #[error("too many keys")]
    TooManyKeys,
    /// `jsonrpc` is not `"2.0"`.
    #[error("jsonrpc is not 2.0")]
    Version,
    /// `id` is null, a fraction, too long, or no string or number.
    #[error("bad id")]
    Id,
    /// `method` is not a string, or is empty or too long.
    #[error("bad method")]
    Method,
    /// `params` is no object.
    #[error("bad params")]
    Params,
    /// What the method acts on is missing or not a string.
    #[error("bad target")]
    Target,
    /// `_meta` or capabilities of another type than MCP gives them.
    #[error("bad metadata")]
    Metadata,
    /// Neither request, notification nor response, or two of them.
    #[error("neither request, notification nor response")]
    Shape,
}

#[cfg(test)]
mod tests;
