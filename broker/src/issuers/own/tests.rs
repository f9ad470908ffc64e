use sallyport_caller::{Door, ExternalIdentities, Issuers, NoHost, TokenError, verify};

use super::*;
use crate::clock::FixedClock;
use crate::model::{PrincipalId, Tenant};
use crate::store::sqlite::SqliteStore;

const URL: &str = "https://gate.example.com";
const START: UnixTime = UnixTime(1_800_000_000_123);
const HOUR: Duration = Duration::from_secs(3600);

struct World {
    dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    vault: Vault,
    clock: Arc<FixedClock>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&dir.path().join("data")).await.unwrap());
        let vault = Self::vault(dir.path(), "master.key");
        Self { store, vault, clock: Arc::new(FixedClock::at(START)), dir }
    }

    fn vault(dir: &std::path::Path, file: &str) -> Vault {
        let keys = dir.join("keys");
        std::fs::create_dir_all(&keys).unwrap();
        Vault::open_or_create(crate::vault::KeyFile::at(keys.join(file)), &Tenant("t".into())).unwrap()
    }

    async fn own(&self) -> OwnIssuer {
        OwnIssuer::open(URL, self.store.clone(), &self.vault, self.clock.clone()).await.unwrap()
    }

    async fn principal(&self, kind: PrincipalKind) -> Principal {
        self.store.ensure_principal(&kind, None, START).await.unwrap()
    }
}

fn alice() -> PrincipalKind {
    PrincipalKind::User { email: "alice@example.com".into() }
}

fn check(own: &OwnIssuer, token: &[u8], now: UnixTime) -> Result<sallyport_caller::Caller, TokenError> {
    verify(token, &Issuers::new([own.issuer()]), &ExternalIdentities::default(), now.0, &NoHost)
}

#[tokio::test]
async fn a_token_issued_here_is_accepted_here() {
    let world = World::new().await;
    let own = world.own().await;
    let principal = world.principal(alice()).await;
    let issued = own.issue(&principal, HOUR).await.unwrap();
    let caller = check(&own, issued.token.expose(), START).unwrap();
    assert_eq!((caller.issuer(), caller.subject()), (URL, principal.id.0.as_str()));
    assert_eq!(caller.subjects(), ["user:alice@example.com", "team:everyone"]);
    assert_eq!(caller.token_id(), Some(issued.id.as_str()));
    assert_eq!(caller.expires_at_ms(), issued.expires_at.0);
    assert_eq!(issued.expires_at, UnixTime(1_800_003_600_000));
    assert!(caller.self_issued());
    let door = Door { resource: "https://gate.example.com/mcp-server/a/b/server", passthrough_audience: None };
    assert!(caller.enter(&door, &own.issuer(), START.0).is_ok());
    let through = Door { passthrough_audience: Some(URL), ..door };
    assert_eq!(caller.enter(&through, &own.issuer(), START.0).err(), Some(TokenError::PassthroughOfOwn));

    let account = world.principal(PrincipalKind::VirtualAccount { name: "deploy".into() }).await;
    let issued = own.issue(&account, HOUR).await.unwrap();
    let caller = check(&own, issued.token.expose(), START).unwrap();
    assert_eq!(caller.subjects(), ["virtualaccount:deploy", "team:everyone"]);
    let later = START.after(HOUR + Duration::from_secs(61));
    assert_eq!(check(&own, issued.token.expose(), later).err(), Some(TokenError::Expired));
}

#[tokio::test]
async fn the_record_to_revoke_a_token_is_stored_without_the_token() {
    let world = World::new().await;
    let own = world.own().await;
    let principal = world.principal(alice()).await;
    let issued = own.issue(&principal, HOUR).await.unwrap();
    let stored = world.store.token(&issued.id).await.unwrap().unwrap();
    assert_eq!(stored.hash, <[u8; 32]>::from(Sha256::digest(issued.token.expose())));
    assert_eq!((stored.principal, stored.expires_at, stored.revoked_at), (principal.id, issued.expires_at, None));
}

#[tokio::test]
async fn refuses_a_life_of_nothing_or_of_more_than_a_year() {
    let world = World::new().await;
    let own = world.own().await;
    let principal = world.principal(alice()).await;
    for ttl in [Duration::ZERO, Duration::from_millis(999), MAX_LIFETIME + Duration::from_secs(1), Duration::MAX] {
        assert!(matches!(own.issue(&principal, ttl).await, Err(OwnIssuerError::Lifetime)), "{ttl:?}");
    }
    let issued = own.issue(&principal, MAX_LIFETIME).await.unwrap();
    assert!(check(&own, issued.token.expose(), START).is_ok());
    assert_eq!(world.store.tokens(START).await.unwrap().records.len(), 1);
}

#[tokio::test]
async fn a_second_start_signs_with_the_same_key() {
    let world = World::new().await;
    let first = world.own().await;
    let issued = first.issue(&world.principal(alice()).await, HOUR).await.unwrap();
    let second = world.own().await;
    assert!(check(&second, issued.token.expose(), START).is_ok());
    assert_eq!(first.public_jwks(), second.public_jwks());
    assert_eq!(world.store.keys(PURPOSE).await.unwrap().records.len(), 1);
}

#[tokio::test]
async fn brokers_that_start_at_once_sign_with_one_key() {
    let world = World::new().await;
    let principal = world.principal(alice()).await;
    let (first, second, third) = tokio::join!(world.own(), world.own(), world.own());
    for (by, known_to) in [(&first, &second), (&second, &third), (&third, &first)] {
        let issued = by.issue(&principal, HOUR).await.unwrap();
        assert!(check(known_to, issued.token.expose(), START).is_ok());
    }
    assert_eq!(world.store.keys(PURPOSE).await.unwrap().records.len(), 1);
}

#[tokio::test]
async fn what_is_published_is_what_verifies() {
    let world = World::new().await;
    let own = world.own().await;
    let jwks = own.public_jwks();
    let set = super::super::jwks::KeySet::read(jwks.to_string().as_bytes(), &[Algorithm::Es256]).unwrap();
    assert!(set.left_out.is_empty());
    assert_eq!(set.keys, own.issuer().keys);
    assert!(set.keys[0].kid().len() <= 11);
    assert!(jwks["keys"][0].get("d").is_none());
}

#[tokio::test]
async fn i4_the_private_key_opens_under_its_own_kid_and_master_key_only() {
    let world = World::new().await;
    let own = world.own().await;
    drop(own);
    let mut stored = world.store.keys(PURPOSE).await.unwrap().records.remove(0);
    let other = World::vault(world.dir.path(), "other.key");
    let refused = OwnIssuer::open(URL, world.store.clone(), &other, world.clock.clone()).await;
    assert!(matches!(refused, Err(OwnIssuerError::Vault(VaultError::OtherMasterKey { .. }))));
    stored.id = "moved".to_owned();
    let moved = open_key(&world.vault, stored).await;
    assert!(matches!(moved, Err(OwnIssuerError::Vault(VaultError::NotAuthentic { .. }))));
}

#[tokio::test]
async fn no_principal_of_another_store_is_given_a_token_that_cannot_be_revoked() {
    let world = World::new().await;
    let own = world.own().await;
    let stranger = Principal { id: PrincipalId("nobody".into()), kind: alice(), created_at: START };
    assert!(matches!(own.issue(&stranger, HOUR).await, Err(OwnIssuerError::Store(_))));
}

#[tokio::test]
async fn v3_an_old_key_that_was_changed_is_left_out_and_the_newest_refuses_the_start_by_its_id() {
    let world = World::new().await;
    let store = Arc::new(SqliteStore::open(&world.dir.path().join("data")).await.unwrap());
    let first = world.own().await;
    let old = first.issue(&world.principal(alice()).await, HOUR).await.unwrap();
    let old_kid = first.signing.kid.clone();
    let new = make_key(&world.vault, START.after(HOUR)).await.unwrap();
    world.store.add_key(&new).await.unwrap();
    let both = world.own().await;
    assert!(both.signing.kid == new.id && check(&both, old.token.expose(), START).is_ok());
    store.bend_key(&old_kid, -1).await;
    let own = world.own().await;
    assert!(own.signing.kid == new.id && own.published.len() == 1);
    assert!(check(&own, old.token.expose(), START).is_err(), "nobody knows its key any more");
    let issued = own.issue(&world.principal(alice()).await, HOUR).await.unwrap();
    assert!(check(&own, issued.token.expose(), START).is_ok());
    store.bend_key(&new.id, -1).await;
    let open = || OwnIssuer::open(URL, world.store.clone(), &world.vault, world.clock.clone());
    let refused = open().await.err().unwrap();
    assert!(matches!(&refused, OwnIssuerError::Newest { kid, .. } if *kid == new.id), "{refused}");
    assert!(refused.to_string().contains(&new.id) && refused.to_string().contains("backup"), "{refused}");
    // Nor is another made where none of them can be read.
    store.tamper("UPDATE keys SET created_at = -1").await;
    assert!(matches!(open().await, Err(OwnIssuerError::Newest { .. })));
    assert_eq!(world.store.keys(PURPOSE).await.unwrap().corrupt.len(), 2);
}
