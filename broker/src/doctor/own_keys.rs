//! The broker's own keys: each opens, or it is said which does not, and what comes of that.

use super::Finding;
use crate::causes;
use crate::issuers::own;
use crate::snapshot::session_keys;
use crate::store::Store;
use crate::vault::{Place, Vault};
use crate::{fingerprints, master_keys};

/// How the place of a key is called.
type PlaceOf = for<'a> fn(&'a str) -> Place<'a>;

/// Of each purpose where its keys are sealed, and what is done about one that does not open.
const PURPOSES: [(&str, PlaceOf, &str); 3] = [
    (
        session_keys::PURPOSE,
        session_keys::place,
        "nothing: it was left out, and is dropped in three days; find out who changed the store",
    ),
    (
        own::PURPOSE,
        own::place,
        "put its record in table `keys` back from a backup; the next start refuses without it if it is the newest",
    ),
    (
        fingerprints::PURPOSE,
        |_| fingerprints::PLACE,
        "put its record in table `keys` back from a backup: the next start refuses without it",
    ),
];

/// Those that do not open, each by its id.
pub(crate) async fn findings(store: &dyn Store, vault: &Vault) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (purpose, place, remedy) in PURPOSES {
        // What the store cannot say now is told of the store.
        let Ok(found) = store.keys(purpose).await else { continue };
        let named = |id: &str| format!("{purpose} key {id}");
        for corrupt in &found.corrupt {
            let id = corrupt.record().unwrap_or_default();
            findings.push(Finding::bad(named(&id), corrupt.to_string(), remedy));
        }
        for key in &found.records {
            if let Err(error) = vault.open(&place(&key.id), &key.value).await
                && matches!(master_keys::is_damaged(store, &error).await, Ok(true))
            {
                findings.push(Finding::bad(named(&key.id), causes::told(&error), remedy));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::fingerprints::Fingerprints;
    use crate::issuers::own::OwnIssuer;
    use crate::model::Tenant;
    use crate::store::sqlite::tests::open_in;

    #[tokio::test]
    async fn v3_a_key_that_was_changed_is_found_by_its_id_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(open_in(dir.path()).await);
        let vault = Vault::open_or_create(dir.path().join("key/master.key"), &Tenant("t".into())).unwrap();
        let clock = Arc::new(SystemClock);
        OwnIssuer::open("https://gate.example.com", store.clone(), &vault, clock).await.unwrap();
        Fingerprints::open(&*store, &vault, &SystemClock).await.unwrap();
        assert_eq!(findings(&*store, &vault).await, []);
        let kid = store.keys(own::PURPOSE).await.unwrap().records.remove(0).id;
        store.bend_key(&kid, -1).await;
        store.tamper("UPDATE keys SET created_at = -1 WHERE id = 'token-fingerprint'").await;
        let found: Vec<_> = findings(&*store, &vault).await.into_iter().map(|finding| finding.check).collect();
        let expected = [format!("token-signing key {kid}"), "token-fingerprint key token-fingerprint".to_owned()];
        assert_eq!(found, expected);
    }
}
