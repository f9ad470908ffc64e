//! `type` of a manifest.

use crate::yaml::{Flaw, closest};

/// What a manifest describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What the users of an issuer without login act as.
    ExternalIdentity,
    /// A group of servers.
    Group,
    /// A team and its members.
    Team,
    /// A virtual account and its owners.
    VirtualAccount,
}

/// Types that manifests of this form have elsewhere, and this version has not.
const NOT_YET: [&str; 13] = [
    "agent",
    "identity-provider",
    "mcp-server/openapi",
    "mcp-server/remote",
    "mcp-server/stdio",
    "mcp-server/tfy-managed",
    "mcp-server/virtual",
    "policy",
    "provider-account",
    "role",
    "role-binding",
    "secret-group",
    "workspace",
];

impl Kind {
    const ALL: [Self; 4] = [Self::ExternalIdentity, Self::Group, Self::Team, Self::VirtualAccount];

    /// `type` of the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExternalIdentity => "external-identity",
            Self::Group => "provider-account/mcp-server-group",
            Self::Team => "team",
            Self::VirtualAccount => "virtual-account",
        }
    }

    pub(super) fn read(text: &str) -> Result<Self, Flaw> {
        if let Some(kind) = Self::ALL.into_iter().find(|kind| kind.name() == text) {
            return Ok(kind);
        }
        let hint = match text {
            "secret-group" => "keep secrets with `sallyport secret set GROUP:KEY --owner NAME`",
            "mcp-server/remote" => {
                "put it into a `provider-account/mcp-server-group` as `integration/mcp-server/remote`"
            }
            _ => {
                "leave it out; this version reads `provider-account/mcp-server-group`, `team`, `external-identity` and `virtual-account`"
            }
        };
        if NOT_YET.contains(&text) || text.starts_with("provider-account/") {
            return Err(Flaw::new(
                format!("manifests of type `{}` are not supported by this version", text.escape_debug()),
                hint,
            ));
        }
        let hint = closest(text, &Self::ALL.map(Self::name))
            .map_or_else(|| hint.to_owned(), |name| format!("did you mean `{name}`?"));
        Err(Flaw::new(format!("unknown type `{}`", text.escape_debug()), hint))
    }
}
