//! What manifests say of callers who are not people of this company: users of other issuers, and virtual accounts.

use sallyport_caller as caller;
use url::Url;

/// A name for the users of an issuer without login, or for some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalIdentity {
    /// Which tokens it stands for.
    pub rule: caller::ExternalIdentity,
    /// The application that these users sign in at, and that confirms who they are.
    pub verifier_url: Option<Url>,
}

/// A virtual account, as far as a manifest speaks of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualAccount {
    /// Who may let it act as them: `user:<email>`, sorted. Nobody else's grant is ever its.
    pub owners: Vec<String>,
}
