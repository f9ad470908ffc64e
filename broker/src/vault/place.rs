//! Where a sealed field belongs: what its ciphertext is bound to.

use sha2::{Digest as _, Sha256};

use super::KeyId;
use crate::keys::hex;
use crate::model::{Generation, Tenant};

/// Kinds of records that hold sealed fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A consent in progress; its record id is the one in its URL.
    Consent,
    /// A grant; its record id is the grant's.
    Grant,
    /// A private key of the broker's own; its record id is the `kid`.
    Key,
    /// A secret of the broker's own; its record id is the reference without its scheme.
    Secret,
    /// A sign-in in progress.
    SignIn,
}

impl RecordKind {
    /// As it stands in the AAD and in messages: never changed once a record was sealed with it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Grant => "grant",
            Self::Key => "key",
            Self::Secret => "secret",
            Self::SignIn => "sign-in",
        }
    }
}

/// One record: what its data keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its kind.
    pub kind: RecordKind,
    /// Its id: opaque, unique within its kind.
    pub id: &'a str,
}

impl<'a> From<&Place<'a>> for Record<'a> {
    fn from(place: &Place<'a>) -> Self {
        Self { kind: place.kind, id: place.record }
    }
}

impl<'a> Record<'a> {
    /// A grant.
    pub fn grant(id: &'a str) -> Self {
        Self { kind: RecordKind::Grant, id }
    }
}

/// One field of one record at one generation; the tenant is the vault's.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Kind of the record.
    pub kind: RecordKind,
    /// Id of the record: opaque, unique within its kind.
    pub record: &'a str,
    /// Name of the field.
    pub field: &'static str,
    /// Generation of the record; 1 where it has none.
    pub generation: Generation,
}

impl<'a> Place<'a> {
    /// The access token of a grant.
    pub fn access_token(grant: &'a str, generation: Generation) -> Self {
        Self { kind: RecordKind::Grant, record: grant, field: "access_token", generation }
    }

    /// The refresh token of a grant.
    pub fn refresh_token(grant: &'a str, generation: Generation) -> Self {
        Self { kind: RecordKind::Grant, record: grant, field: "refresh_token", generation }
    }

    /// A field of one attempt at a consent: of another attempt it does not open.
    pub fn of_consent(id: &'a str, field: &'static str, attempt: u32) -> Self {
        Self { kind: RecordKind::Consent, record: id, field, generation: Generation(attempt.into()) }
    }

    /// Authenticated with the ciphertext; each part is preceded by its length, so that no two places read the same.
    pub(super) fn aad(&self, tenant: &Tenant) -> Vec<u8> {
        join(&[
            b"sallyport.field.v1",
            tenant.0.as_bytes(),
            self.kind.name().as_bytes(),
            self.record.as_bytes(),
            self.field.as_bytes(),
            &self.generation.0.to_be_bytes(),
        ])
    }
}

/// Authenticated with a wrapped data key.
pub(super) fn wrapping(tenant: &Tenant, key_id: KeyId) -> Vec<u8> {
    join(&[b"sallyport.data-key.v1", tenant.0.as_bytes(), &key_id.0])
}

/// Names a record where its id must not be read.
pub(super) fn record_hash(tenant: &Tenant, record: Record<'_>) -> String {
    let parts = [b"sallyport.record.v1", tenant.0.as_bytes(), record.kind.name().as_bytes(), record.id.as_bytes()];
    hex(&Sha256::digest(join(&parts)))
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i4_parts_cannot_flow_into_each_other() {
        let tenant = |name: &str| Tenant(name.to_owned());
        let place = |record, field| Place { kind: RecordKind::Secret, record, field, generation: Generation(1) };
        assert_ne!(place("ab", "c").aad(&tenant("t")), place("a", "bc").aad(&tenant("t")));
        assert_ne!(place("b", "c").aad(&tenant("tsecreta")), place("ab", "c").aad(&tenant("tsecret")));
        assert_ne!(place("", "c").aad(&tenant("t")), place("c", "").aad(&tenant("t")));
    }
}
