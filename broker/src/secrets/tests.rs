use super::*;
use crate::clock::SystemClock;
use crate::store::sqlite::SqliteStore;

async fn secrets(dir: &std::path::Path) -> (Secrets, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.join("data")).await.unwrap());
    let tenant = Tenant("t".to_owned());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let vault = Vault::open_or_create(dir.join("key/master.key"), &tenant).unwrap();
    let audit = Audit::start(Arc::clone(&store), Arc::clone(&clock), tenant.clone());
    (Secrets::new(Arc::clone(&store), vault, audit, clock, tenant), store)
}

fn named(group: &str, key: &str) -> SecretRef {
    SecretRef { group: group.to_owned(), key: key.to_owned() }
}

fn owners() -> [String; 1] {
    ["demo".to_owned()]
}

#[tokio::test]
async fn i4_a_secret_is_sealed_in_the_store_and_audited_without_its_value() {
    let dir = tempfile::tempdir().unwrap();
    let (secrets, store) = secrets(dir.path()).await;
    for value in ["first", "canary"] {
        let reference =
            secrets.set(&named("g", "k"), &Secret::new(value), &owners(), Actor::operator(7)).await.unwrap();
        assert_eq!(reference, "tfy-secret://t:g:k");
    }
    assert!(secrets.get(&named("g", "k")).await.unwrap() == Secret::new("canary"));
    let stored = store.secret("g", "k").await.unwrap().unwrap();
    assert_eq!(stored.generation, Generation(2));
    assert!(!stored.value.0.windows(6).any(|bytes| bytes == b"canary"));
    let audit = store.audit(0, "unix#7", "", "secret.set", 10).await.unwrap();
    assert_eq!(audit.len(), 2);
    assert!(!format!("{audit:?}").contains("canary"));
    let listed = secrets.list().await.unwrap();
    assert_eq!(listed, [Listed { reference: "tfy-secret://t:g:k".to_owned(), owners: owners().to_vec() }]);
}

#[tokio::test]
async fn a_template_is_resolved_when_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let (secrets, _) = secrets(dir.path()).await;
    let template = Template(vec![TemplatePart::Text("Bearer ".to_owned()), TemplatePart::Secret(named("g", "k"))]);
    let missing = secrets.resolve(&template).await.unwrap_err();
    assert_eq!(missing.to_string(), "there is no secret `tfy-secret://t:g:k`");
    secrets.set(&named("g", "k"), &Secret::new("v"), &owners(), Actor::operator(0)).await.unwrap();
    let resolved = secrets.resolve(&template).await.unwrap();
    assert!(resolved.value == Secret::new("Bearer v"));
    assert_eq!(resolved.secrets.len(), 1, "{:?}", resolved.secrets);
}

#[tokio::test]
async fn refuses_what_is_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (secrets, store) = secrets(dir.path()).await;
    let set = async |group: &str, key: &str, value: Vec<u8>, owners: &[&str]| {
        let owners: Vec<_> = owners.iter().map(|owner| (*owner).to_owned()).collect();
        secrets.set(&named(group, key), &Secret::new(value), &owners, Actor::operator(0)).await.unwrap_err()
    };
    let long = "k".repeat(129);
    for name in ["", "a:b", "a/b", "ä", long.as_str()] {
        assert!(matches!(set(name, "k", vec![1], &["demo"]).await, SecretsError::Name { .. }));
        assert!(matches!(set("g", name, vec![1], &["demo"]).await, SecretsError::Name { .. }));
    }
    assert!(matches!(set("g", "k", vec![], &["demo"]).await, SecretsError::Empty));
    assert!(matches!(set("g", "k", vec![0; MAX_BYTES + 1], &["demo"]).await, SecretsError::TooLarge));
    assert!(matches!(set("g", "k", vec![1], &["De mo"]).await, SecretsError::Owner { .. }));
    assert!(matches!(set("g", "k", vec![1], &[]).await, SecretsError::NoOwner { .. }));
    assert!(store.secrets().await.unwrap().records.is_empty());
}

#[tokio::test]
async fn i4_a_value_moved_to_another_name_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (secrets, store) = secrets(dir.path()).await;
    secrets.set(&named("g", "k"), &Secret::new("v"), &owners(), Actor::operator(0)).await.unwrap();
    let mut moved = store.secret("g", "k").await.unwrap().unwrap();
    moved.key = "other".to_owned();
    store.put_secret(&moved, &[], SystemClock.now()).await.unwrap();
    assert!(matches!(secrets.get(&named("g", "other")).await, Err(SecretsError::Vault(_))));
}

#[tokio::test]
async fn v3_an_opened_value_in_memory_is_not_served_for_what_was_changed_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (secrets, store) = secrets(dir.path()).await;
    for key in ["k", "other"] {
        secrets.set(&named("g", key), &Secret::new(key), &owners(), Actor::operator(0)).await.unwrap();
        for _ in 0..3 {
            assert!(secrets.get(&named("g", key)).await.unwrap() == Secret::new(key));
        }
    }
    secrets.opened.run_pending_tasks();
    assert_eq!(secrets.opened.entry_count(), 2, "opened once each");
    let header = store.seal_headers().await.unwrap().remove(0);
    let old = store.sealed_fields(crate::store::SealedColumn::Secret, &header, "", 1).await.unwrap().records.remove(0);
    let mut new = old.sealed.clone();
    *new.0.last_mut().unwrap() ^= 1;
    assert_eq!(store.swap_sealed(&[crate::store::Swap { old, new }]).await.unwrap(), 1);
    let error = secrets.get(&named("g", "k")).await.unwrap_err();
    assert!(format!("{error:?}").contains("t:g:k"), "{error:?}");
    assert!(secrets.get(&named("g", "other")).await.unwrap() == Secret::new("other"));
    secrets.set(&named("g", "k"), &Secret::new("anew"), &owners(), Actor::operator(0)).await.unwrap();
    assert!(secrets.get(&named("g", "k")).await.unwrap() == Secret::new("anew"));
}
