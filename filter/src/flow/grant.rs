//! Permission to let a request go, with what is changed about it on the way.

use std::rc::Rc;

use sallyport_caller::Allowed;

use super::{Ask, Opened};
use crate::credentials::Credential;
use crate::headers::{self, RequestHeader};
use crate::snapshot::Auth;

/// The only way out for a request (I2). Made for an [`Allowed`] caller, in this module's parent alone.
pub struct Grant {
    opened: Rc<Opened>,
    credential: Rc<Credential>,
    /// A renewal of the credential, to be asked for besides.
    pub renewal: Option<Box<Ask>>,
}

/// One change to the headers of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Drop every header of this name.
    Remove(&'a str),
    /// Put this in place of every header of this name.
    Set(&'a str, &'a [u8]),
}

impl Grant {
    pub(super) fn new(_: &Allowed, opened: Rc<Opened>, credential: Rc<Credential>, renewal: Option<Box<Ask>>) -> Self {
        Self { opened, credential, renewal }
    }

    /// Every change, in order: what the client may not say is dropped before what we say is set (H10, H11).
    pub fn edits(&self) -> impl Iterator<Item = Edit<'_>> {
        let session =
            self.opened.session.as_ref().map(|s| Edit::Set(headers::MCP_SESSION_ID, s.upstream_id.as_bytes()));
        let set = self.credential.headers.iter().map(|(name, value)| Edit::Set(name, value));
        self.opened.head.iter().filter_map(|(name, _)| self.removal(name)).chain(session).chain(set)
    }

    fn removal<'a>(&self, name: &'a [u8]) -> Option<Edit<'a>> {
        let name_text = std::str::from_utf8(name).ok()?;
        // Passthrough is the one place where the inbound credential goes on (I1).
        if self.opened.server.auth == Auth::Passthrough && name_text == headers::AUTHORIZATION {
            return None;
        }
        // Setting replaces, so that a header which is set need not be removed first.
        let mut set = self.credential.headers.iter().map(|(set, _)| set.as_str());
        if set.clone().any(|set| set == name_text) {
            return None;
        }
        // An upstream that reads `_` as `-` would take the client's header for the one that is set, or checked (H10).
        let imitates = set.any(|set| headers::same_name(name, set));
        match headers::request_header(name) {
            RequestHeader::Strip => Some(Edit::Remove(name_text)),
            RequestHeader::Session if name_text != headers::MCP_SESSION_ID => Some(Edit::Remove(name_text)),
            RequestHeader::Pass | RequestHeader::Session => imitates.then_some(Edit::Remove(name_text)),
        }
    }
}
