//! Alice's address comes back with another subject of her issuer, or with another owner.

use std::sync::Arc;

use tonic::Code;

use super::*;
use crate::admin::grants::tests::{ALICE, Office};
use crate::clock::Clock;
use crate::coordination::Coordination;
use crate::doctor::{self, Running};
use crate::fetch::Fetcher;
use crate::issuers::Issuers;
use crate::issuers::own::OwnIssuer;
use crate::master_keys::MasterKeys;
use crate::model::Tenant;
use crate::oauth::profile::GENERIC;
use crate::secrets::Secrets;
use crate::service::tests::{ISSUER, START, URL};

impl Office {
    /// What operators of this office talk to.
    pub(in crate::admin) async fn admin(&self) -> Admin {
        let fixture = &self.fixture;
        let (store, clock) =
            (Arc::clone(&fixture.store) as Arc<dyn Store>, Arc::clone(&fixture.clock) as Arc<dyn Clock>);
        let (audit, tenant, vault) = (fixture.audit.clone(), Tenant("t".into()), &fixture.vault);
        let own = OwnIssuer::open(URL, Arc::clone(&store), vault, Arc::clone(&clock)).await.unwrap();
        let issuers = fixture.issuers();
        let registry = Registry::load(Arc::clone(&store), audit.clone(), Arc::clone(&clock), tenant.clone(), issuers)
            .await
            .unwrap();
        let publisher = fixture.publisher.clone();
        let fetcher = Fetcher::new(&[], None).unwrap();
        let spool = tempfile::tempdir().unwrap();
        let master_keys = MasterKeys::open(crate::master_keys::Parts {
            tenant: tenant.clone(),
            vault: vault.clone(),
            store: Arc::clone(&store),
            spool: crate::refresher::Spool::open(spool.path()).unwrap(),
            audit: audit.clone(),
            clock: Arc::clone(&clock),
        });
        let master_keys = master_keys.await.unwrap();
        let running = Running::new(doctor::Parts {
            store_at: "here".to_owned(),
            store: Arc::clone(&store),
            vault: vault.clone(),
            master_keys: master_keys.clone(),
            spool: crate::refresher::Spool::open(spool.path()).unwrap(),
            fetcher: fetcher.clone(),
            issuers: Issuers::new(Vec::new(), own.issuer(), fetcher, Arc::clone(&clock)),
            servers: registry.subscribe(),
            coordination: Coordination::in_process(tenant.clone()),
            clock: Arc::clone(&clock),
        });
        Admin {
            running,
            master_keys,
            registry: Arc::new(registry),
            secrets: Secrets::new(Arc::clone(&store), vault.clone(), audit.clone(), Arc::clone(&clock), tenant),
            own: Arc::new(own),
            sign_ins: fixture.sign_ins(None),
            grants: fixture.grants.clone(),
            store,
            audit,
            fingerprints: Arc::clone(&fixture.fingerprints),
            clock,
            public_url: URL.to_owned(),
            secret_changed: Box::new(|| {}),
            revoked: Box::new(move || publisher.wake()),
        }
    }

    async fn comes(&self, subject: &str) -> Result<PrincipalId, StoreError> {
        let kind = PrincipalKind::User { email: ALICE.to_owned() };
        let identity = Identity { issuer: ISSUER.to_owned(), subject: subject.to_owned() };
        Ok(self.fixture.store.ensure_principal(&kind, Some(&identity), START).await?.id)
    }
}

fn asked(user: &str, issuer: &str, subject: &str) -> proto::LinkIdentityRequest {
    proto::LinkIdentityRequest { user: user.to_owned(), issuer: issuer.to_owned(), subject: subject.to_owned() }
}

fn operator() -> Actor {
    Actor::operator(1000)
}

#[tokio::test]
async fn an_operator_links_the_new_subject_of_the_same_person() {
    let office = Office::at(&GENERIC, true).await;
    let alice = office.comes("old").await.unwrap();
    office.comes("new").await.unwrap_err();
    let admin = office.admin().await;
    let linked = link(&admin, asked("Alice@example.com", ISSUER, "new"), operator()).await.unwrap();
    assert_eq!((linked.principal.as_str(), linked.is_new), (alice.0.as_str(), true));
    assert_eq!(office.comes("new").await.unwrap(), alice);
    assert!(!link(&admin, asked(ALICE, ISSUER, "new"), operator()).await.unwrap().is_new);
    let listed = list(&*admin.store, ALICE).await.unwrap().identities;
    let told: Vec<_> = listed.iter().map(|one| (one.subject.as_str(), one.linked.as_str())).collect();
    assert_eq!(told, [("new", "operator"), ("old", "created")]);
    assert!(listed.iter().all(|one| one.whom == "user:alice@example.com" && one.linked_at_ms == START.0));
    let rows = office.fixture.rows("identity.link").await;
    assert!(rows[0].contains(&format!(r#""target":"{ISSUER}#new""#)) && rows[0].contains(&alice.0), "{rows:?}");
    assert!(rows[0].contains(r#""issuer":"unix","subject":"1000""#), "{rows:?}");
}

#[tokio::test]
async fn refuses_to_link_what_is_nobodys_or_somebody_elses() {
    let office = Office::at(&GENERIC, true).await;
    office.comes("old").await.unwrap();
    let bob = PrincipalKind::User { email: "bob@example.com".to_owned() };
    let bobs = Identity { issuer: ISSUER.to_owned(), subject: "bob".to_owned() };
    office.fixture.store.ensure_principal(&bob, Some(&bobs), START).await.unwrap();
    let admin = office.admin().await;
    for (request, code) in [
        (asked("carol@example.com", ISSUER, "new"), Code::NotFound),
        (asked("not an address", ISSUER, "new"), Code::InvalidArgument),
        (asked(ALICE, "https://elsewhere.example", "new"), Code::InvalidArgument),
        (asked(ALICE, URL, "new"), Code::InvalidArgument),
        (asked(ALICE, ISSUER, ""), Code::InvalidArgument),
        (asked(ALICE, ISSUER, "bob"), Code::FailedPrecondition),
    ] {
        assert_eq!(link(&admin, request.clone(), operator()).await.unwrap_err().code(), code, "{request:?}");
    }
    let told = link(&admin, asked(ALICE, ISSUER, "bob"), operator()).await.unwrap_err();
    assert!(told.message().contains("user:bob@example.com"), "{told}");
    assert_eq!(admin.store.identities(None).await.unwrap().records.len(), 2);
    assert!(office.fixture.rows("identity.link").await.is_empty());
    assert_eq!(list(&*admin.store, "carol@example.com").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_released_address_leaves_its_last_owner_nothing_and_the_next_one_less() {
    let office = Office::at(&GENERIC, true).await;
    let (alice, old) = (office.agrees(ALICE).await, office.comes("old").await.unwrap());
    let runtime = office.agrees_for(&alice, "runtime").await;
    let admin = office.admin().await;
    let kept = admin.store.principal_by_id(&old).await.unwrap().unwrap();
    let token = admin.own.issue(&kept, std::time::Duration::from_secs(60)).await.unwrap();

    let released = release(&admin, ALICE, &operator()).await.unwrap();
    assert_eq!((&released.principal, released.identities.len()), (&old.0, 1));
    assert_eq!((released.revoked.len(), released.revoked[0].id.as_str()), (1, alice.id.as_str()));
    assert_eq!(released.revoked[0].at_provider, "revoked", "as by `grants revoke`");
    assert_eq!(released.tokens, [token.id]);
    let agreed: Vec<_> = released.agreed.iter().map(|one| (one.id.as_str(), one.holder.as_str())).collect();
    assert_eq!(agreed, [(runtime.id.as_str(), "virtualaccount:runtime")]);
    assert_eq!(released.agreed[0].consented_by, format!("external:{}", old.0));
    let ended = admin.store.grant_by_id(&alice.id).await.unwrap().unwrap();
    assert_eq!(ended.standing, Standing::Revoked("operator".to_owned()));
    assert_eq!(admin.store.grant_by_id(&runtime.id).await.unwrap().unwrap().standing, Standing::Live);
    assert_eq!(office.fixture.rows("grant.revoked").await.len(), 1);
    let rows = office.fixture.rows("identity.release").await;
    assert!(rows.len() == 1 && rows[0].contains(&old.0) && rows[0].contains(&format!("{ISSUER}#old")), "{rows:?}");

    // A token that is left to its last owner comes first.
    assert_eq!(office.comes("old").await.unwrap(), old);
    let nameless = admin.store.principal_by_id(&old).await.unwrap().unwrap();
    assert_eq!(nameless.kind, PrincipalKind::External, "the name does not come back with it");
    assert_eq!(list(&*admin.store, ALICE).await.unwrap_err().code(), Code::NotFound);
    let new = office.comes("new").await.unwrap();
    assert_ne!(new, old);
    assert_eq!(list(&*admin.store, ALICE).await.unwrap().identities[0].subject, "new");
    assert!(admin.store.grants(Some(&new)).await.unwrap().records.is_empty());
    let again = release(&admin, "bob@example.com", &operator()).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
}

#[tokio::test]
async fn an_operator_names_somebody_whose_tokens_do_not() {
    let office = Office::at(&GENERIC, true).await;
    let identity = Identity { issuer: ISSUER.to_owned(), subject: "carol".to_owned() };
    let store = Arc::clone(&office.fixture.store);
    let nameless = store.ensure_principal(&PrincipalKind::External, Some(&identity), START).await.unwrap().id;
    let admin = office.admin().await;
    let linked = link(&admin, asked("carol@example.com", ISSUER, "carol"), operator()).await.unwrap();
    assert_eq!((linked.principal.as_str(), linked.is_new), (nameless.0.as_str(), true));
    assert_eq!(list(&*admin.store, "carol@example.com").await.unwrap().identities.len(), 1);
    let rows = office.fixture.rows("identity.link").await;
    assert!(rows.len() == 1 && rows[0].contains(&nameless.0), "{rows:?}");
    release(&admin, "carol@example.com", &operator()).await.unwrap();
    let again = link(&admin, asked("carol@example.com", ISSUER, "carol"), operator()).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound, "whose name was taken away gets none again");
}
