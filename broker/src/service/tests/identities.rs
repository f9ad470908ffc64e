//! Users of an issuer without login, as the broker knows them.

use sallyport_caller as caller;

use super::*;
use crate::model::{ExternalIdentity, Identity};

impl Fixture {
    /// The issuer has no login from here on, its identities are these, and every server is for the first of them.
    pub(crate) async fn external(&self, identities: &[(&str, &str)]) {
        self.issuers.send_modify(|issuers| {
            let rules = issuers.iter().map(|issuer| Issuer { login: false, ..Issuer::clone(issuer) });
            *issuers = Arc::new(CallerIssuers::new(rules.collect::<Vec<_>>()));
        });
        self.servers.send_modify(|servers| {
            let mut changed = Servers::clone(servers);
            for server in changed.by_name.values_mut() {
                Arc::make_mut(server).subjects = vec!["external-identity:shop".to_owned()];
            }
            let identity = |(name, address): &(&str, &str)| {
                let claims = BTreeMap::from([("email".to_owned(), (*address).to_owned())]);
                let rule = caller::ExternalIdentity { name: (*name).to_owned(), issuer: ISSUER.to_owned(), claims };
                ((*name).to_owned(), ExternalIdentity { rule, verifier_url: None })
            };
            changed.external_identities = identities.iter().map(identity).collect();
            *servers = Arc::new(changed);
        });
        self.publisher.publish().await;
    }
}

#[tokio::test]
async fn i11_a_caller_known_already_acts_as_an_external_identity_only_while_one_matches() {
    let fixture = Fixture::new().await;
    let alice = fixture.alice("none");
    fixture.credential(&alice).await;
    fixture.external(&[]).await;
    assert_eq!(reason(&fixture.acquire(&alice).await), Some(Reason::Policy), "nobody's user any more");
    fixture.external(&[("shop", "alice@example.com")]).await;
    fixture.credential(&alice).await;
    fixture.external(&[("shop", "bob@example.com")]).await;
    assert_eq!(reason(&fixture.acquire(&alice).await), Some(Reason::Policy), "it means somebody else now");
    fixture.external(&[("other", "alice@example.com")]).await;
    assert_eq!(reason(&fixture.acquire(&alice).await), Some(Reason::Policy), "and is called something else");
}

#[tokio::test]
async fn r10_an_external_user_is_nobody_else_of_the_same_address() {
    let fixture = Fixture::new().await;
    let kind = PrincipalKind::User { email: "alice@example.com".into() };
    let person = fixture.store.ensure_principal(&kind, None, START).await.unwrap();
    fixture.external(&[("shop", "alice@example.com")]).await;
    fixture.credential(&fixture.alice("none")).await;
    let identity = Identity { issuer: ISSUER.into(), subject: "alice".into() };
    let customer = fixture.store.principal(&identity).await.unwrap().unwrap();
    assert_eq!(customer.kind, PrincipalKind::External);
    assert_ne!(customer.id, person.id);
}

#[tokio::test]
async fn i8_who_was_given_somebodys_address_is_refused_until_an_operator_decides() {
    let fixture = Fixture::new().await;
    let key = fixture.alice_agrees(Some("canary-refresh-0")).await;
    let second = |server: &str| {
        let audience = format!("{URL}/mcp-server/demo/{server}/server");
        request(server, fixture.idp.token_with("alice-2", "alice@example.com", &audience, 3600))
    };
    for server in ["own", "none", "header"] {
        assert_eq!(reason(&fixture.acquire(&second(server)).await), Some(Reason::Identity), "{server}");
    }
    fixture.credential(&fixture.alice("own")).await;
    let row = fixture.rows("call.refused").await.pop().unwrap();
    assert!(row.contains(r#""reason":"identity_contested""#) && row.contains(r#""subject":"alice-2""#), "{row}");
    assert!(row.contains(&format!(r#""on_behalf_of":"{}""#, key.holder)) && row.contains(r#""server":"demo/header""#));
    assert!(!row.contains(&second("own").token), "i9");
    let status = fixture.service.consent_status(&second("own").token, "demo/own", "q1").await.unwrap_err();
    assert!(matches!(status, Refused::Contested(_)) && status.to_string().contains("an operator must decide"));

    let new = Identity { issuer: ISSUER.into(), subject: "alice-2".into() };
    fixture.store.link_identity("alice@example.com", &new, START).await.unwrap();
    assert_eq!(fixture.credential(&second("own")).await.headers[0].value, b"Bearer canary-agreed", "the same person");
}
