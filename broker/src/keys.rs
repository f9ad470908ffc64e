//! The one function that makes keys of caches, locks and single flights (I6).
//!
//! Every part is length-prefixed and the tenant comes first, so that no choice of names makes two keys equal
//! (`a:b` + `c` against `a` + `b:c`).

use std::fmt;

use sha2::{Digest, Sha256};

use crate::model::{ClientCredentials, GrantKey, Template, TemplatePart, Tenant};

/// Key of one thing in one tenant. Equal only if every part is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

/// What a key is for: a lock is never taken for a cache entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What a person is shown before they consent.
    Asked,
    /// One attempt at a consent.
    Consent,
    /// The access token of a grant: opened, renewed, or backed off from.
    Grant,
    /// The record of a grant.
    GrantId,
    /// The lease of a grant.
    Lease,
    /// Where brokers tell each other that there is news.
    Notices,
    /// Rejections of a grant's token.
    Rejection,
    /// One sealed value of a secret of the broker's own.
    Secret,
    /// A caller token that was found good.
    VerifiedToken,
}

impl Purpose {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Asked => b"asked",
            Self::Consent => b"consent",
            Self::Grant => b"grant",
            Self::GrantId => b"grant-id",
            Self::Lease => b"lease",
            Self::Notices => b"notices",
            Self::Rejection => b"rejection",
            Self::Secret => b"secret",
            Self::VerifiedToken => b"verified-token",
        }
    }
}

impl Key {
    /// The key for `parts` of `tenant`, for `purpose`.
    pub fn new(tenant: &Tenant, purpose: Purpose, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in [tenant.0.as_bytes(), purpose.name()].iter().chain(parts) {
            absorb(&mut hash, part);
        }
        Self(hash.finalize().into())
    }

    /// The key of a grant: provider client and holder both count.
    pub fn of_grant(tenant: &Tenant, purpose: Purpose, grant: &GrantKey) -> Self {
        Self::new(tenant, purpose, &[grant.provider_client.as_bytes(), grant.holder.as_bytes()])
    }
}

impl Key {
    /// As text, for where a person's browser brings it back.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take(6) {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Number of a lock in a database, which holds one tenant. Two things whose numbers meet by chance wait for each other.
pub fn lock_number(parts: &[&[u8]]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        absorb(&mut hash, part);
    }
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Holder of grants that act for nobody in particular (client credentials).
pub const SERVICE_HOLDER: &str = "service";

/// The grant that a client-credentials configuration names. Servers with equal configurations share it.
pub fn service_grant(client: &ClientCredentials) -> GrantKey {
    GrantKey { provider_client: service_client(client), holder: SERVICE_HOLDER.to_owned() }
}

/// Id of a grant's record. Whose it is goes into its seal through this, so that a row moved to somebody else does not
/// open (I4).
pub fn grant_id(tenant: &Tenant, grant: &GrantKey) -> String {
    hex(&Key::of_grant(tenant, Purpose::GrantId, grant).0[..16])
}

/// Names a provider client without its secret: endpoints, client id (references by name) and resource.
pub fn provider_client(
    authorization_url: &str,
    token_url: &str,
    client_id: &Template,
    resource: Option<&str>,
) -> String {
    let mut hash = Sha256::new();
    absorb(&mut hash, authorization_url.as_bytes());
    absorb(&mut hash, token_url.as_bytes());
    absorb_template(&mut hash, client_id);
    absorb_count(&mut hash, usize::from(resource.is_some()));
    absorb(&mut hash, resource.unwrap_or_default().as_bytes());
    hex(&hash.finalize()[..16])
}

/// Names a configuration of client credentials without its secret. The auth revision counts: tokens of another
/// configuration are not used.
fn service_client(client: &ClientCredentials) -> String {
    let mut hash = Sha256::new();
    absorb(&mut hash, client.auth_revision.as_bytes());
    absorb(&mut hash, client.token_url.as_str().as_bytes());
    absorb_template(&mut hash, &client.client_id);
    absorb_count(&mut hash, client.scopes.len());
    for scope in &client.scopes {
        absorb(&mut hash, scope.as_bytes());
    }
    absorb_count(&mut hash, usize::from(client.resource.is_some()));
    absorb(&mut hash, client.resource.as_deref().unwrap_or_default().as_bytes());
    hex(&hash.finalize()[..16])
}

fn absorb_template(hash: &mut Sha256, template: &Template) {
    absorb_count(hash, template.0.len());
    for part in &template.0 {
        match part {
            TemplatePart::Text(text) => {
                absorb(hash, b"text");
                absorb(hash, text.as_bytes());
            }
            TemplatePart::Secret(reference) => {
                absorb(hash, b"secret");
                absorb(hash, reference.group.as_bytes());
                absorb(hash, reference.key.as_bytes());
            }
        }
    }
}

fn absorb_count(hash: &mut Sha256, count: usize) {
    hash.update((count as u64).to_be_bytes());
}

fn absorb(hash: &mut Sha256, part: &[u8]) {
    absorb_count(hash, part.len());
    hash.update(part);
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClientAuthentication, SecretRef};

    fn tenant(name: &str) -> Tenant {
        Tenant(name.to_owned())
    }

    fn grant(client: &str, holder: &str) -> GrantKey {
        GrantKey { provider_client: client.into(), holder: holder.into() }
    }

    #[test]
    fn i6_every_part_counts() {
        let base = Key::of_grant(&tenant("t"), Purpose::Grant, &grant("c", "h"));
        let others = [
            Key::of_grant(&tenant("u"), Purpose::Grant, &grant("c", "h")),
            Key::of_grant(&tenant("t"), Purpose::Rejection, &grant("c", "h")),
            Key::of_grant(&tenant("t"), Purpose::Grant, &grant("d", "h")),
            Key::of_grant(&tenant("t"), Purpose::Grant, &grant("c", "i")),
        ];
        assert!(others.iter().all(|other| *other != base));
        assert_eq!(base, Key::of_grant(&tenant("t"), Purpose::Grant, &grant("c", "h")));
    }

    #[test]
    fn i6_no_part_runs_into_the_next() {
        let keys = [
            Key::new(&tenant("t"), Purpose::Grant, &[b"ab", b"c"]),
            Key::new(&tenant("t"), Purpose::Grant, &[b"a", b"bc"]),
            Key::new(&tenant("t"), Purpose::Grant, &[b"abc"]),
            Key::new(&tenant("t"), Purpose::Grant, &[b"abc", b""]),
            Key::new(&tenant("t:ab"), Purpose::Grant, &[b"c"]),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(keys.iter().skip(at + 1).all(|other| other != key));
        }
    }

    #[test]
    fn o11_a_person_and_a_server_that_read_alike_when_joined_are_two() {
        let of =
            |user: &str, server: &str| Key::new(&tenant("t"), Purpose::Grant, &[user.as_bytes(), server.as_bytes()]);
        assert_ne!(of("a:b", "c"), of("a", "b:c"));
        let of = |user: &str, server: &str| Key::of_grant(&tenant("t"), Purpose::Grant, &grant(server, user));
        assert_ne!(of("a:b", "c"), of("a", "b:c"));
        assert_ne!(of(SERVICE_HOLDER, "c"), of("service:", "c"));
    }

    #[test]
    fn a_reference_is_not_the_text_that_spells_it() {
        let client = |id: TemplatePart| ClientCredentials {
            token_url: "https://login.example.com/token".parse().expect("a URL"),
            client_id: Template(vec![id]),
            client_secret: Template(vec![]),
            client_authentication: ClientAuthentication::Basic,
            scopes: vec![],
            resource: None,
            additional_params: vec![],
            auth_revision: "r".into(),
        };
        let text = service_grant(&client(TemplatePart::Text("gk".into())));
        let reference = service_grant(&client(TemplatePart::Secret(SecretRef { group: "g".into(), key: "k".into() })));
        assert_ne!(text, reference);
        assert_eq!(text.holder, SERVICE_HOLDER);
    }
}
