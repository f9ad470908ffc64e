//! Grants as stored.

use super::Sealed;
use crate::clock::UnixTime;
use crate::model::{Generation, GrantKey, PrincipalId};

/// The grants of a client that want to be looked at, first those that somebody began to refresh and never ended, then the
/// most lately used. Found by an index that holds no others, and sorted by what is in it: of the rows themselves only as
/// many are read as are shown.
pub(super) const DUE: &str = "SELECT * FROM grants WHERE id IN (
        SELECT id FROM grants
        WHERE provider_client = $1 AND due_at <= $2 AND standing = 'live' AND reason = ''
        ORDER BY intent_owner IS NULL, used_at DESC NULLS LAST, due_at, id LIMIT $3)
    ORDER BY intent_owner IS NULL, used_at DESC NULLS LAST, due_at, id";

/// Since when the token of a client has been due that has waited for longest, of those that were used since then or that
/// somebody began to refresh. Attempts, and the pauses after them, change nothing about that. One whose time cannot be read
/// has none.
pub(super) const OLDEST_DUE: &str = "SELECT min(refresh_after) FROM grants
    WHERE provider_client = $1 AND refresh_after BETWEEN 0 AND $2 AND due_at IS NOT NULL AND standing = 'live' AND reason = ''
      AND (intent_owner IS NOT NULL OR used_at > $3)";

/// Grants that somebody has begun to refresh, and is over or began as one of the starts of a broker; found by an index that
/// holds no others, in its order: brokers look for them twice a second.
pub(super) const DANGLING: &str = "SELECT * FROM grants
    WHERE standing = 'live' AND intent_owner IS NOT NULL
      AND (intent_deadline < $1 OR substr(intent_owner, 1, length($2)) = $2) ORDER BY intent_deadline";

/// The client of each grant that somebody refreshes at that time; by the same index, which grouping by client would not use.
pub(super) const UNDER_WAY: &str =
    "SELECT provider_client FROM grants WHERE intent_owner IS NOT NULL AND intent_deadline >= $1";

/// A grant: one stored authorization at one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGrant {
    /// `keys::grant_id` of its key; part of the AAD.
    pub id: String,
    /// What it is for.
    pub key: GrantKey,
    /// Counts the token material, from 1, for as long as the row exists.
    pub generation: Generation,
    /// Whether it can be served.
    pub standing: Standing,
    /// The tokens; there if it is [`Standing::Live`], after its refreshes have ended (then without a refresh token), and while
    /// it is set aside.
    pub material: Option<Material>,
    /// What was agreed to, sorted; empty for client credentials.
    pub scopes: Vec<String>,
    /// Of the servers it was agreed to be used for, sorted; empty for client credentials.
    pub auth_revisions: Vec<String>,
    /// The provider's own id of the account, where it tells one.
    pub account: Option<String>,
    /// When somebody agreed to it; never, for client credentials.
    pub consented_at: Option<UnixTime>,
    /// Who did: the holder, or an owner of that virtual account.
    pub consented_by: Option<PrincipalId>,
    /// Who refreshes it now, or died while refreshing it.
    pub intent: Option<Intent>,
    /// A refresh token whose commit lost.
    pub spare: Option<Spare>,
    /// How long its provider is left alone, and what is known of requests that gave no token.
    pub pause: Option<Pause>,
    /// When it wants to be looked at, if it does.
    pub due_at: Option<UnixTime>,
    /// When it was used last, to within minutes, if that was noted.
    pub used_at: Option<UnixTime>,
}

/// Whether a grant can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has tokens.
    Live,
    /// Its holder must agree anew; the reason is a code. It may have an access token still, which serves until it expires.
    NeedsConsent(String),
    /// Its holder or an operator ended it; the reason is a code.
    Revoked(String),
}

/// The tokens of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// Sealed access token.
    pub access_token: Sealed,
    /// Sealed refresh token, where the provider gave one.
    pub refresh_token: Option<Sealed>,
    /// When the provider issued the access token, by our clock.
    pub issued_at: UnixTime,
    /// When it expires.
    pub expires_at: UnixTime,
    /// From here on it is due for renewal.
    pub refresh_after: UnixTime,
}

/// The durable right to refresh one generation of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// `<broker>/<start of that broker>`.
    pub owner: String,
    /// Counts the attempts at this generation, from 1.
    pub attempt: u32,
    /// When it was taken.
    pub started_at: UnixTime,
    /// After this, whoever took it is not at it any more.
    pub deadline: UnixTime,
}

/// How long nobody asks a provider for the successor of a generation, since a request gave none. Ends with the generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Requests in a row that gave no token.
    pub failures: u32,
    /// When it began, by the clock of the broker that wrote it.
    pub from: UnixTime,
    /// When it ends, by the same clock.
    pub until: UnixTime,
    /// The attempt of the intent beside it that is over, with an outcome nobody knows; 0 where it is known.
    pub attempt: u32,
    /// The next request is the last one there may be: the one before it may have used the refresh token up.
    pub is_before_the_last: bool,
    /// An answer may have gone astray: a gateway that answered in the provider's place does not know what it did.
    pub may_be_astray: bool,
    /// The stored refresh token is of no use: what is sent next is the spare.
    pub spare_is_next: bool,
    /// The code of why.
    pub why: String,
}

impl Pause {
    /// None at all, written where one has to be.
    pub fn over(now: UnixTime) -> Self {
        Self {
            failures: 0,
            from: now,
            until: now,
            attempt: 0,
            is_before_the_last: false,
            may_be_astray: false,
            spare_is_next: false,
            why: String::new(),
        }
    }
}

/// A refresh token whose commit lost: tried before the grant is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spare {
    /// The generation it was sealed for.
    pub generation: Generation,
    /// The token.
    pub refresh_token: Sealed,
}

/// Generations of a grant that nobody uses any more, here or at a proxy: they were ended, or something took their place
/// beside which they must not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidation {
    /// Counts them all, from 1, in the order in which they were committed; 0 if that cannot be read.
    pub number: u64,
    /// Id of the grant.
    pub grant: String,
    /// What the grant is for.
    pub key: GrantKey,
    /// This one and all before it.
    pub generation: Generation,
    /// When, by the clock of the broker that did it.
    pub at: UnixTime,
}

/// The next generation of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantCommit {
    /// `keys::grant_id` of the key.
    pub id: String,
    /// What it is for.
    pub key: GrantKey,
    /// One more than what is stored.
    pub generation: Generation,
    /// The tokens.
    pub material: Material,
    /// As in [`StoredGrant`].
    pub scopes: Vec<String>,
    /// As in [`StoredGrant`].
    pub auth_revisions: Vec<String>,
    /// As in [`StoredGrant`].
    pub account: Option<String>,
    /// As in [`StoredGrant`].
    pub consented_at: Option<UnixTime>,
    /// As in [`StoredGrant`].
    pub consented_by: Option<PrincipalId>,
    /// When it invalidated the generations before it, if it does; else they serve until they expire.
    pub invalidates: Option<UnixTime>,
}
