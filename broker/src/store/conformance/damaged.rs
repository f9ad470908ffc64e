//! Records in which a column is damaged, as a bad disk or somebody with the database in hand leaves them: each is named,
//! and spoils no other. Of lists, see also where each is.

use super::grants::{grant, key};
use super::sign_ins::{session, sign_in};
use super::{NOW, Tamper, consents, sealed};
use crate::clock::UnixTime;
use crate::model::{Generation, PrincipalKind, ServerName};
use crate::store::{
    AuditEntry, GrantCommit, SealedColumn, SignInKind, Store, StoreError, StoredConsent, StoredManifest, StoredSecret,
};

const EVER: UnixTime = UnixTime(u64::MAX);

/// Whether it is corrupt, this record of this table.
pub(super) fn names(error: &StoreError, of: &'static str, whose: &str) -> bool {
    matches!(error, StoreError::Corrupt { table, id, .. } if *table == of && id == whose)
}

#[track_caller]
pub(super) fn assert_named<T: std::fmt::Debug>(
    read: Result<T, StoreError>,
    table: &'static str,
    id: &str,
    column: &str,
) {
    assert!(matches!(&read, Err(error) if names(error, table, id)), "{table} {id}: {column}: {read:?}");
}

/// Damages one column of one record, and mends it again.
pub(super) struct Damage<'s, S> {
    store: &'s S,
    table: &'static str,
    /// Which record.
    filter: &'static str,
}

impl<'s, S: Store + Tamper> Damage<'s, S> {
    pub(super) async fn of(store: &'s S, table: &'static str, filter: &'static str) -> Self {
        store.tamper_with(format!("CREATE TABLE kept_{table} AS SELECT * FROM {table} WHERE {filter}")).await;
        Self { store, table, filter }
    }

    /// Answers whether the database lets anybody do it.
    async fn done(&self, column: &str, value: Option<&str>) -> bool {
        let Some(value) = value else { return false };
        let Self { table, filter, .. } = self;
        self.store.tamper_with(format!("UPDATE {table} SET {column} = {value} WHERE {filter}")).await;
        true
    }

    pub(super) async fn text(&self, column: &str) -> bool {
        self.done(column, self.store.no_text()).await
    }

    pub(super) async fn number(&self, column: &str) -> bool {
        self.done(column, Some("-1")).await
    }

    /// For a column that `filter` does not speak of.
    pub(super) async fn mended(&self, column: &str) {
        let Self { table, filter, .. } = self;
        let sql = format!("UPDATE {table} SET {column} = (SELECT {column} FROM kept_{table}) WHERE {filter}");
        self.store.tamper_with(sql).await;
    }
}

/// Damages each column in turn, and has what is read looked at.
macro_rules! each {
    ($damage:expr, texts: [$($text:literal),*], numbers: [$($number:literal),*], |$column:ident| $look:block) => {{
        let damage = &$damage;
        for ($column, is_text) in [$(($text, true),)* $(($number, false),)*] {
            let done = if is_text { damage.text($column).await } else { damage.number($column).await };
            if done {
                $look
                damage.mended($column).await;
            }
        }
    }};
}

pub(super) async fn v3_grants(store: &(impl Store + Tamper)) {
    for id in ["good", "bad"] {
        let given = GrantCommit { account: Some(id.to_owned()), ..grant(id, &key("client", id), 1, id) };
        store.commit_grant(&given).await.unwrap();
    }
    let damage = Damage::of(store, "grants", "account = 'bad'").await;
    each!(
        damage,
        texts: ["standing", "reason", "scopes", "auth_revisions", "consented_by"],
        numbers: ["expires_at", "refresh_after", "issued_at", "consented_at", "used_at"],
        |column| {
            let found = store.grants(None).await.unwrap();
            assert_eq!(found.records.iter().map(|grant| grant.id.as_str()).collect::<Vec<_>>(), ["good"], "{column}");
            assert!(matches!(&found.corrupt[..], [error] if names(error, "grants", "bad")), "{column}");
            assert_named(store.grant(&key("client", "bad")).await, "grants", "bad", column);
            assert_named(store.grant_by_id("bad").await, "grants", "bad", column);
        }
    );
    assert!(store.grant_by_id("bad").await.unwrap().is_some(), "it is mended");
    if damage.text("id").await {
        let found = store.grants(None).await.unwrap();
        assert_eq!(found.records.len(), 1);
        assert!(names(&found.corrupt[0], "grants", "\u{fffd}"), "{:?}", found.corrupt);
        assert_eq!(store.shred_grants(None, 10, NOW).await.unwrap().len(), 1, "the other is destroyed all the same");
        damage.mended("id").await;
    }
    damage.text("holder").await;
    let destroyed = store.shred_grants(None, 10, NOW).await.unwrap();
    assert!(destroyed.iter().any(|one| one.id == "bad"), "whoever it is of: {destroyed:?}");
    assert_eq!(store.count_sealed_of(None).await.unwrap(), 0);
}

pub(super) async fn v3_consents(store: &(impl Store + Tamper)) {
    for id in ["good", "bad"] {
        let given = StoredConsent { server: ServerName(id.into()), ..consents::consent(store, id).await };
        store.ensure_consent(&given).await.unwrap();
        store.begin_consent(id, &consents::attempt(1)).await.unwrap();
        store.take_code(id, 1, NOW).await.unwrap();
        store.hold_tokens(id, 1, &sealed("tokens")).await.unwrap();
    }
    let damage = Damage::of(store, "consents", "id = 'bad'").await;
    each!(
        damage,
        texts: ["server", "holder", "subjects", "extra_scopes", "scopes"],
        numbers: ["created_at", "attempt", "begun_at", "code_taken_at"],
        |column| {
            assert_named(store.consent("bad").await, "consents", "bad", column);
            let abandoned = store.abandoned_consents(EVER).await.unwrap();
            assert_eq!(abandoned.records.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["good"], "{column}");
            assert!(matches!(&abandoned.corrupt[..], [error] if names(error, "consents", "bad")), "{column}");
        }
    );
    assert!(store.consent("bad").await.unwrap().is_some(), "it is mended");
}

pub(super) async fn v3_sign_ins_and_sessions(store: &(impl Store + Tamper)) {
    let kind = PrincipalKind::VirtualAccount { name: "ci".to_owned() };
    let somebody = store.ensure_principal(&kind, None, NOW).await.unwrap().id;
    for id in ["good", "bad"] {
        store.add_sign_in(&sign_in(id, SignInKind::Oidc)).await.unwrap();
    }
    let damage = Damage::of(store, "sign_ins", "id = 'bad'").await;
    each!(damage, texts: ["consent"], numbers: ["created_at", "used_at"], |column| {
        assert_named(store.sign_in("bad", NOW).await, "sign_ins", "bad", column);
        assert!(store.sign_in("good", NOW).await.unwrap().is_some());
    });
    for hash in [1, 2] {
        store.add_session(&session(hash, &somebody)).await.unwrap();
    }
    store.tamper_with("UPDATE sessions SET created_at = -1".to_owned()).await;
    assert_named(store.session(&[1; 32], NOW).await, "sessions", "0101010101010101", "created_at");
    if let Some(text) = store.no_text() {
        store.tamper_with(format!("UPDATE sessions SET created_at = 1, teams = {text}")).await;
        assert_named(store.session(&[2; 32], NOW).await, "sessions", "0202020202020202", "teams");
    }
}

pub(super) async fn v3_principals(store: &(impl Store + Tamper)) {
    let user = |name: &str| PrincipalKind::User { email: format!("{name}@example.com") };
    let mut ids = Vec::new();
    for name in ["good", "bad"] {
        ids.push(store.ensure_principal(&user(name), None, NOW).await.unwrap().id);
    }
    let damage = Damage::of(store, "principals", "name = 'bad@example.com'").await;
    each!(damage, texts: [], numbers: ["created_at"], |column| {
        assert_named(store.principal_named(&user("bad")).await, "principals", &ids[1].0, column);
        assert_named(store.principal_by_id(&ids[1]).await, "principals", &ids[1].0, column);
        assert!(store.principal_named(&user("good")).await.unwrap().is_some());
    });
    if damage.text("name").await {
        assert_named(store.principal_by_id(&ids[1]).await, "principals", &ids[1].0, "name");
        assert!(store.principal_by_id(&ids[0]).await.unwrap().is_some());
    }
}

pub(super) async fn v3_secrets_manifests_and_audit(store: &(impl Store + Tamper)) {
    let secret = |key: &str| StoredSecret {
        group: "g".to_owned(),
        key: key.to_owned(),
        generation: Generation(1),
        value: sealed("header of twenty byte, and more"),
    };
    for key in ["bad", "good"] {
        store.put_secret(&secret(key), &[], NOW).await.unwrap();
    }
    let manifest = |name: &str| StoredManifest { name: name.into(), kind: "team".into(), body: "{}".into() };
    store.put_manifests(0, &[manifest("bad"), manifest("good")], "op", NOW).await.unwrap();
    let entry = || AuditEntry { event: "e".into(), actor: "".into(), server: "".into(), at: NOW, json: "{}".into() };
    store.append_audit(&[entry(), entry()]).await.unwrap();
    store.tamper_with("UPDATE audit SET at = -1 WHERE sequence = 2".to_owned()).await;
    assert_named(store.audit(0, "", "", "", 9).await, "audit", "2", "at");
    assert_eq!(store.append_audit(&[entry()]).await.unwrap(), 3, "the chain goes on");
    if let Some(text) = store.no_text() {
        store.tamper_with(format!("UPDATE audit SET at = 1, json = {text} WHERE sequence = 2")).await;
        assert_named(store.audit(0, "", "", "", 9).await, "audit", "2", "json");
        store.tamper_with(format!("UPDATE manifests SET body = {text} WHERE name = 'bad'")).await;
        assert_named(store.manifests().await, "manifests", "team bad", "body");
        store.tamper_with(format!("UPDATE secrets SET key = {text} WHERE key = 'bad'")).await;
        let found = store.secrets().await.unwrap();
        assert_eq!((found.records, found.corrupt.len()), (vec![("g".to_owned(), "good".to_owned())], 1));
        let header = &sealed("header of twenty byte, and more").0[..20];
        let found = store.sealed_fields(SealedColumn::Secret, header, "", 9).await.unwrap();
        assert_eq!((found.records.len(), found.corrupt.len()), (1, 1));
        assert!(names(&found.corrupt[0], "secrets", "g:\u{fffd}"), "{:?}", found.corrupt);
    }
}

pub(super) async fn v3_times_of_the_schedule(store: &(impl Store + Tamper)) {
    store.commit_grant(&grant("bad", &key("client", "bad"), 1, "bad")).await.unwrap();
    store.mark_used(&["bad".to_owned()], NOW).await.unwrap();
    store.tamper_with("UPDATE grants SET refresh_after = -1, due_at = 1 WHERE id = 'bad'".to_owned()).await;
    assert_eq!(store.oldest_due("client", NOW, UnixTime(0)).await.unwrap(), None);
    assert!(store.spend("provider", None, 7).await.unwrap());
    store.tamper_with("UPDATE provider_budgets SET spent_until = -7".to_owned()).await;
    let read = store.spent_until("provider").await.unwrap();
    assert_eq!(read, Some(0), "as good as nothing");
    assert!(store.spend("provider", read, 9).await.unwrap());
    assert_eq!(store.spent_until("provider").await.unwrap(), Some(9));
}

pub(super) async fn v3_master_keys(store: &(impl Store + Tamper)) {
    for id in ["bad", "good"] {
        store.add_wraps(id, 7, NOW).await.unwrap();
    }
    store.tamper_with("UPDATE master_keys SET wraps = -9 WHERE id = 'bad'".to_owned()).await;
    let found = store.master_keys().await.unwrap();
    assert_eq!(found.records.iter().map(|key| (key.id.as_str(), key.wraps)).collect::<Vec<_>>(), [("good", 7)]);
    assert!(matches!(&found.corrupt[..], [error] if names(error, "master_keys", "bad")), "{:?}", found.corrupt);
    assert_named(store.add_wraps("bad", 1, NOW).await, "master_keys", "bad", "wraps");
    assert_eq!(store.add_wraps("good", 1, NOW).await.unwrap(), 8);
}
