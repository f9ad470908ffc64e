//! What a body says, as far as the gateway judges by it.

use std::borrow::Cow;

use super::id::{self, Id};
use super::scanner::{Flaw, Scanner, Text};
use super::{BodyError, MessageFlaw, ParseFlaw};

/// Longest method, in bytes; those of MCP are under 50.
const LONGEST_METHOD: usize = 256;

const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS: [&str; 17] = [
    "name",
    "uri",
    "_meta",
    "arguments",
    "cursor",
    "taskId",
    "task",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "inputResponses",
    "requestState",
    "ref",
    "argument",
    "level",
    "requestId",
    "progressToken",
];
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META: [&str; 3] = [META_VERSION, META_CAPABILITIES, "io.modelcontextprotocol/clientInfo"];

/// One JSON-RPC message; text is borrowed from the body unless it had escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is, with its id.
    pub kind: Kind<'a>,
    /// The method; empty for a response.
    pub method: Cow<'a, str>,
    /// What the method acts on: tool, prompt, resource or task.
    pub target: Option<Cow<'a, str>>,
    /// The version in `_meta`, which every request since 2026-07-28 carries.
    pub meta_version: Option<Cow<'a, str>>,
    /// The version an `initialize` proposes.
    pub proposed_version: Option<Cow<'a, str>>,
    /// Whether this message declares the capability `elicitation.url`, in `_meta` or, for `initialize`, in `params`.
    pub elicits_by_url: bool,
}

/// The three messages of JSON-RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Expects an answer with this id.
    Request {
        /// As it came.
        id: Id<'a>,
    },
    /// Expects no answer.
    Notification,
    /// The client's answer to a request of the server.
    Response {
        /// As it came.
        id: Id<'a>,
    },
}

/// What was found so far; kept apart so that a flaw later on can still name the id.
#[derive(Default)]
struct Found<'a> {
    version: bool,
    id: Option<Id<'a>>,
    method: Option<Cow<'a, str>>,
    params: bool,
    answers: u8,
    name: Field<'a>,
    uri: Field<'a>,
    task: Field<'a>,
    meta_version: Option<Text<'a>>,
    proposed_version: Option<Text<'a>>,
    meta_url: bool,
    proposed_url: bool,
}

/// A field that matters only with some methods, which may come behind it.
#[derive(Clone, Copy, Default)]
enum Field<'a> {
    #[default]
    Absent,
    Text(Text<'a>),
    NoText,
}

/// Reads a body as exactly one JSON-RPC message, in one pass.
pub fn read(body: &[u8]) -> Result<Message<'_>, BodyError> {
    let mut found = Found::default();
    match scan(body, &mut found) {
        Ok(()) => {}
        Err(flaw) => return Err(refuse(flaw, found.id)),
    }
    let id = found.id.clone();
    message(found).map_err(|flaw| refuse(flaw, id))
}

fn refuse(flaw: Flaw, id: Option<Id<'_>>) -> BodyError {
    let id = id.map(Id::into_owned);
    match flaw {
        Flaw::Parse(flaw) => BodyError::Parse { flaw, id },
        Flaw::Message(flaw) => BodyError::Invalid { flaw, id },
    }
}

fn scan<'a>(body: &'a [u8], found: &mut Found<'a>) -> Result<(), Flaw> {
    let text = std::str::from_utf8(body).map_err(|_| ParseFlaw::Utf8)?;
    if text.starts_with('\u{FEFF}') {
        return Err(ParseFlaw::Utf8.into());
    }
    let mut scanner = Scanner::new(text);
    match scanner.peek()? {
        b'{' => scanner.object(1, &ENVELOPE, |scanner, key| envelope(scanner, key, found))?,
        first => {
            scanner.skip(0)?;
            scanner.end()?;
            return Err(if first == b'[' { MessageFlaw::Batch } else { MessageFlaw::NotObject }.into());
        }
    }
    Ok(scanner.end()?)
}

fn envelope<'a>(scanner: &mut Scanner<'a>, key: &str, found: &mut Found<'a>) -> Result<(), Flaw> {
    match key {
        "jsonrpc" => {
            let version = scanner.text(1)?.ok_or(MessageFlaw::Version)?.unescape()?;
            if version != "2.0" {
                return Err(MessageFlaw::Version.into());
            }
            found.version = true;
        }
        "id" => found.id = Some(read_id(scanner)?),
        "method" => {
            let method = scanner.text(1)?.ok_or(MessageFlaw::Method)?;
            if method.raw_len() == 0 || method.raw_len() > LONGEST_METHOD || method.has_nul() {
                return Err(MessageFlaw::Method.into());
            }
            found.method = Some(method.unescape()?);
        }
        "params" => match scanner.peek()? {
            b'{' => {
                found.params = true;
                scanner.object(2, &PARAMS, |scanner, key| params(scanner, key, found))?;
            }
            // An absent value for some clients' serialisers, and no ambiguity.
            b'n' => scanner.skip(1)?,
            _ => return Err(MessageFlaw::Params.into()),
        },
        other => {
            if matches!(other, "result" | "error") {
                found.answers = found.answers.saturating_add(1);
            }
            match scanner.peek()? {
                b'{' => scanner.object(2, &[], |scanner, _| scanner.skip(2))?,
                _ => scanner.skip(1)?,
            }
        }
    }
    Ok(())
}

fn read_id<'a>(scanner: &mut Scanner<'a>) -> Result<Id<'a>, Flaw> {
    if !matches!(scanner.peek()?, b'"' | b'-' | b'0'..=b'9') {
        return Err(MessageFlaw::Id.into());
    }
    let json = scanner.scalar()?;
    let fraction = !json.starts_with('"') && json.contains(['.', 'e', 'E']);
    if json.len() > id::LONGEST || fraction || json == "-0" {
        return Err(MessageFlaw::Id.into());
    }
    Ok(Id::new(json))
}

fn params<'a>(scanner: &mut Scanner<'a>, key: &str, found: &mut Found<'a>) -> Result<(), Flaw> {
    match key {
        "name" => found.name = field(scanner)?,
        "uri" => found.uri = field(scanner)?,
        "taskId" => found.task = field(scanner)?,
        "protocolVersion" => found.proposed_version = scanner.text(2)?,
        "capabilities" => found.proposed_url = capabilities(scanner, 2)?,
        "_meta" => match scanner.peek()? {
            b'{' => scanner.object(3, &META, |scanner, key| meta(scanner, key, found))?,
            b'n' => scanner.skip(2)?,
            _ => return Err(MessageFlaw::Metadata.into()),
        },
        _ => scanner.skip(2)?,
    }
    Ok(())
}

fn field<'a>(scanner: &mut Scanner<'a>) -> Result<Field<'a>, Flaw> {
    Ok(scanner.text(2)?.map_or(Field::NoText, Field::Text))
}

fn meta<'a>(scanner: &mut Scanner<'a>, key: &str, found: &mut Found<'a>) -> Result<(), Flaw> {
    match key {
        META_VERSION => found.meta_version = Some(scanner.text(3)?.ok_or(MessageFlaw::Metadata)?),
        META_CAPABILITIES => found.meta_url = capabilities(scanner, 3)?,
        _ => scanner.skip(3)?,
    }
    Ok(())
}

/// Whether a capabilities object in an object of this depth declares `elicitation.url` as an object.
fn capabilities(scanner: &mut Scanner<'_>, depth: u32) -> Result<bool, Flaw> {
    let mut declared = false;
    let depth_of = |below: u32| depth.saturating_add(below);
    if scanner.peek()? != b'{' {
        scanner.skip(depth)?;
        return Ok(false);
    }
    scanner.object(depth_of(1), &["elicitation"], |scanner, key| {
        if key != "elicitation" || scanner.peek()? != b'{' {
            return scanner.skip(depth_of(1));
        }
        scanner.object(depth_of(2), &["url", "form"], |scanner, key| {
            declared |= key == "url" && scanner.peek()? == b'{';
            scanner.skip(depth_of(2))
        })
    })?;
    Ok(declared)
}

fn message(found: Found<'_>) -> Result<Message<'_>, Flaw> {
    if !found.version {
        return Err(MessageFlaw::Version.into());
    }
    let (kind, method) = match (found.id, found.method, found.answers) {
        (Some(id), Some(method), 0) => (Kind::Request { id }, method),
        (None, Some(method), 0) => (Kind::Notification, method),
        (Some(id), None, 1) if !found.params => (Kind::Response { id }, Cow::Borrowed("")),
        _ => return Err(MessageFlaw::Shape.into()),
    };
    let target = match &*method {
        "tools/call" | "prompts/get" => Some(required(found.name)?),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some(required(found.uri)?),
        task if task.starts_with("tasks/") => match found.task {
            Field::Absent => None,
            present => Some(required(present)?),
        },
        _ => None,
    };
    let initialize = method == "initialize";
    let proposed_version = found.proposed_version.filter(|_| initialize);
    Ok(Message {
        kind,
        target,
        meta_version: found.meta_version.map(|version| version.unescape()).transpose()?,
        proposed_version: proposed_version.map(|version| version.unescape()).transpose()?,
        elicits_by_url: found.meta_url || (initialize && found.proposed_url),
        method,
    })
}

fn required(field: Field<'_>) -> Result<Cow<'_, str>, Flaw> {
    match field {
        // NUL ends a name for some upstreams: they would run another tool than the one that was judged.
        Field::Text(text) if !text.has_nul() => Ok(text.unescape()?),
        Field::Text(_) | Field::NoText | Field::Absent => Err(MessageFlaw::Target.into()),
    }
}
