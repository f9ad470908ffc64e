//! Kinds of events, and what they are called in the records.

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventName {
    /// A proxy refused a verified caller, or the broker did.
    CallRefused,
    /// A proxy used a credential that had been released to it.
    CallUsed,
    /// Reports of a proxy are missing.
    CallsGap,
    /// A person agreed, and the grant is stored.
    ConsentFinished,
    /// A consent came to nothing; nothing is stored.
    ConsentRefused,
    /// A person set out for the provider.
    ConsentStarted,
    /// An upstream refused a credential.
    CredentialReject,
    /// A credential was released to a proxy.
    CredentialRelease,
    /// A grant is about to be ended, by its holder or by an operator.
    GrantEnding,
    /// A refresh gave fewer scopes than there were.
    GrantNarrowed,
    /// A grant was ended, and its provider told as far as that can be done.
    GrantRevoked,
    /// An operator said that a subject is somebody who was known before.
    IdentityLink,
    /// An operator said that an address belongs to somebody else now.
    IdentityRelease,
    /// Records were moved to the current master key.
    KeyRewrapped,
    /// The master key was replaced.
    KeyRotated,
    /// What was sealed for somebody, or for all, was destroyed.
    KeyShredded,
    /// That was begun.
    KeyShredding,
    /// Manifests were applied.
    ManifestApply,
    /// A form was not taken; or strangers asked for more than they may, one record for all of a minute.
    PagesRefused,
    /// An operator asked for a refresh.
    RefreshAsked,
    /// A grant was renewed.
    RefreshDone,
    /// A grant could not be renewed.
    RefreshFailed,
    /// A secret of the broker's own was set.
    SecretSet,
    /// Everything was moved here from another store.
    StoreMigrated,
    /// The store was put back from a backup.
    StoreRestored,
    /// A person signed in at a browser.
    SignInDone,
    /// An operator made a link by which a person can sign in.
    SignInLink,
    /// Nobody was signed in.
    SignInRefused,
    /// A person signed out.
    SignOut,
    /// The broker issued a token.
    TokenIssue,
    /// A token was revoked.
    TokenRevoke,
}

impl EventName {
    /// As it stands in the records; never changed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallRefused => "call.refused",
            Self::CallUsed => "call.used",
            Self::CallsGap => "calls.gap",
            Self::ConsentFinished => "consent.finished",
            Self::ConsentRefused => "consent.refused",
            Self::ConsentStarted => "consent.started",
            Self::CredentialReject => "credential.reject",
            Self::CredentialRelease => "credential.release",
            Self::GrantEnding => "grant.ending",
            Self::GrantNarrowed => "grant.narrowed",
            Self::GrantRevoked => "grant.revoked",
            Self::IdentityLink => "identity.link",
            Self::IdentityRelease => "identity.release",
            Self::KeyRewrapped => "key.rewrapped",
            Self::KeyRotated => "key.rotated",
            Self::KeyShredded => "key.shredded",
            Self::KeyShredding => "key.shredding",
            Self::ManifestApply => "manifest.apply",
            Self::PagesRefused => "pages.refused",
            Self::RefreshAsked => "refresh.asked",
            Self::RefreshDone => "refresh.done",
            Self::RefreshFailed => "refresh.failed",
            Self::SecretSet => "secret.set",
            Self::StoreMigrated => "store.migrated",
            Self::StoreRestored => "store.restored",
            Self::SignInDone => "signin.done",
            Self::SignInLink => "signin.link",
            Self::SignInRefused => "signin.refused",
            Self::SignOut => "signout",
            Self::TokenIssue => "token.issue",
            Self::TokenRevoke => "token.revoke",
        }
    }
}
