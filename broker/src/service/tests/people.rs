//! Servers that each caller uses with a grant of their own.

use super::*;
use crate::model::{AuthorizationCode, GrantKey, Identity};
use crate::oauth::profile::GENERIC;
use crate::refresher::tests::people::{agreed, provider_client};
use crate::refresher::tests::provider::PAIR;
use crate::store::Standing;

pub(super) fn client(token_url: url::Url) -> Arc<AuthorizationCode> {
    let client = Arc::new(provider_client(token_url, &GENERIC));
    Arc::new(AuthorizationCode { client, scopes: vec!["read".into()], auth_revision: "r1".into() })
}

impl Fixture {
    /// Alice agrees; her principal is made by her first call.
    pub(super) async fn alice_agrees(&self, refresh_token: Option<&str>) -> GrantKey {
        self.acquire(&self.alice("own")).await;
        let identity = Identity { issuer: ISSUER.into(), subject: "alice".into() };
        let alice = self.store.principal(&identity).await.unwrap().unwrap().id;
        let key = GrantKey { provider_client: "client".into(), holder: alice.0 };
        let grant = agreed(&self.vault, key.clone(), Generation(1), START, "canary-agreed", refresh_token).await;
        self.store.commit_grant(&grant).await.unwrap();
        self.provider.answers(200, PAIR);
        if let Some(token) = refresh_token {
            self.provider.is_strict(token);
        }
        key
    }

    async fn reject(&self, rejected: &Credential) -> Answer {
        self.service.reject(&gateway(), &rejecting(self.alice("own"), rejected)).await.answer.unwrap()
    }
}

fn asks_for_consent(answer: &Answer) -> bool {
    matches!(answer, Answer::ConsentRequired(required) if required.consents.len() == 1)
}

#[tokio::test]
async fn a_caller_gets_their_own_grant_and_nobody_elses() {
    let fixture = Fixture::new().await;
    assert!(asks_for_consent(&fixture.acquire(&fixture.alice("own")).await), "nobody agreed yet");
    let key = fixture.alice_agrees(Some("canary-refresh-0")).await;
    let credential = fixture.credential(&fixture.alice("own")).await;
    assert_eq!(credential.headers[0].value, b"Bearer canary-agreed");
    assert_eq!(credential.grant, crate::keys::grant_id(&Tenant("t".into()), &key));
    let (own, _) = fixture.own_token().await;
    let runtime = fixture.acquire(&request("own", own)).await;
    assert_eq!(reason(&runtime), Some(Reason::Credential), "it has no owner who could agree");
    let rows = fixture.rows("credential.release").await;
    assert!(rows.len() == 1 && rows[0].contains("account-at-provider") && !rows[0].contains("canary"), "{rows:?}");
}

#[tokio::test]
async fn a_rejected_grant_is_refreshed_once_and_its_successor_is_not() {
    let fixture = Fixture::new().await;
    fixture.alice_agrees(Some("canary-refresh-0")).await;
    let first = fixture.credential(&fixture.alice("own")).await;
    let mut second = None;
    for _ in 0..10 {
        match fixture.reject(&first).await {
            Answer::Credential(credential) => second = Some(credential),
            other => panic!("{other:?}"),
        }
    }
    let second = second.unwrap();
    assert_eq!((second.generation, second.headers[0].value.as_slice()), (2, b"Bearer canary-token-1".as_slice()));
    for _ in 0..5 {
        assert_eq!(reason(&fixture.reject(&second).await), Some(Reason::Credential));
    }
    assert_eq!(fixture.provider.count(), 1);
    assert_eq!(fixture.rows("credential.reject").await.len(), 2);
}

#[tokio::test]
async fn a_rejected_grant_without_a_refresh_token_is_over() {
    let fixture = Fixture::new().await;
    let key = fixture.alice_agrees(None).await;
    let credential = fixture.credential(&fixture.alice("own")).await;
    for _ in 0..3 {
        assert!(asks_for_consent(&fixture.reject(&credential).await));
        assert!(asks_for_consent(&fixture.acquire(&fixture.alice("own")).await));
    }
    let stored = fixture.store.grant(&key).await.unwrap().unwrap();
    assert_eq!(stored.standing, Standing::NeedsConsent("rejected".into()));
    assert_eq!(fixture.provider.count(), 0);
}

#[tokio::test]
async fn a_rejection_of_what_was_never_given_out_refreshes_nothing() {
    let fixture = Fixture::new().await;
    fixture.alice_agrees(Some("canary-refresh-0")).await;
    let first = fixture.credential(&fixture.alice("own")).await;
    let forged = Credential { generation: u64::MAX, ..first };
    assert!(matches!(fixture.reject(&forged).await, Answer::Credential(credential) if credential.generation == 1));
    assert_eq!(fixture.provider.count(), 0);
}

#[tokio::test]
async fn an_upstream_that_wants_more_scopes_gets_wider_consent_and_one_that_has_them_all_does_not() {
    let fixture = Fixture::new().await;
    let key = fixture.alice_agrees(Some("canary-refresh-0")).await;
    let credential = fixture.credential(&fixture.alice("own")).await;
    let narrow = async |scope: &str| {
        let mut request = rejecting(fixture.alice("own"), &credential);
        (request.status, request.error, request.scope) = (403, "insufficient_scope".into(), scope.into());
        fixture.service.reject(&gateway(), &request).await.answer.unwrap()
    };
    let Answer::ConsentRequired(required) = narrow("admin read admin").await else { panic!("no consent") };
    let id = required.consents[0].url.rsplit_once('/').unwrap().1.to_owned();
    assert_eq!(fixture.store.consent(&id).await.unwrap().unwrap().extra_scopes, ["admin"]);
    assert_eq!(reason(&narrow("read").await), Some(Reason::Credential), "agreeing again would change nothing");
    let longest = "s".repeat(1024);
    assert!(matches!(narrow(&longest).await, Answer::ConsentRequired(_)));
    for none in [
        &format!("{longest}s"),
        &"s ".repeat(600),
        "a\"b",
        "a\\b",
        "a\u{1}b",
        "a\u{7f}b",
        "sch\u{f6}n",
        "ok \u{202e}ko",
    ] {
        assert_eq!(reason(&narrow(none).await), Some(Reason::Credential), "{none:?} names no scopes");
    }
    assert_eq!(fixture.store.grant(&key).await.unwrap().unwrap().generation, Generation(1));
    assert_eq!(fixture.provider.count(), 0);
}

#[tokio::test]
async fn an_account_without_owners_acts_as_nobody_even_with_a_grant() {
    let fixture = Fixture::new().await;
    let (token, _) = fixture.own_token().await;
    let kind = crate::model::PrincipalKind::VirtualAccount { name: "runtime".into() };
    let holder = fixture.store.ensure_principal(&kind, None, START).await.unwrap().id.0;
    let key = GrantKey { provider_client: "client".into(), holder };
    let grant = agreed(&fixture.vault, key, Generation(1), START, "canary-agreed", None).await;
    fixture.store.commit_grant(&grant).await.unwrap();
    let call = request("own", token);
    assert_eq!(reason(&fixture.acquire(&call).await), Some(Reason::Credential), "no manifest names it");
    for owners in [vec!["user:alice@example.com".to_owned()], vec![]] {
        let is_owned = !owners.is_empty();
        fixture.servers.send_modify(|servers| {
            let account = crate::model::VirtualAccount { owners };
            Arc::make_mut(servers).virtual_accounts.insert("runtime".into(), account);
        });
        fixture.publisher.publish().await;
        assert_eq!(matches!(fixture.acquire(&call).await, Answer::Credential(_)), is_owned);
    }
}
