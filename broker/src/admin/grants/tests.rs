//! Alice's and bob's grants at one provider, where `demo/notes` and `demo/board` are.

use std::sync::Arc;

use futures::StreamExt as _;
use proto::revoke_grants_request::Which;
use sallyport_proto::broker::update::Update;
use tonic::Code;

use super::*;
use crate::keys;
use crate::model::{
    Auth, AuthorizationCode, ClientAuthentication, Generation, GrantKey, ProviderClient, Server, Template,
    TemplatePart, Tenant,
};
use crate::oauth::profile::{GENERIC, GITHUB, Profile};
use crate::refresher::{ConsentReason, Need, Pair, RefreshError, Source};
use crate::secret::Secret;
use crate::service::tests::{Fixture, START};
use crate::store::{GrantCommit, Material};

pub(in crate::admin) const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

pub(in crate::admin) struct Office {
    pub(in crate::admin) fixture: Fixture,
    notes: Arc<AuthorizationCode>,
}

impl Office {
    pub(in crate::admin) async fn at(profile: &'static Profile, revokes: bool) -> Self {
        let fixture = Fixture::new().await;
        let token_url = fixture.token_url();
        let text = |text: &str| Template(vec![TemplatePart::Text(text.to_owned())]);
        let client = Arc::new(ProviderClient {
            id: "office".to_owned(),
            authorization_url: "https://login.example.com/authorize".parse().unwrap(),
            revocation_url: revokes.then(|| token_url.join("/revoke").unwrap()),
            token_url,
            introspection_url: None,
            issuer: None,
            client_id: text("gate"),
            client_secret: Some(text("canary-client-secret")),
            client_authentication: ClientAuthentication::Post,
            resource: None,
            additional_params: vec![],
            profile,
            rotation: profile.rotation,
        });
        let code = |scope: &str| {
            let (scopes, auth_revision) = (vec![scope.to_owned()], "r1".to_owned());
            Arc::new(AuthorizationCode { client: Arc::clone(&client), scopes, auth_revision })
        };
        let (notes, board) = (code("read"), code("admin"));
        fixture.servers.send_modify(|servers| {
            Arc::make_mut(servers).by_name.extend([server("notes", &notes), server("board", &board)]);
        });
        Self { fixture, notes }
    }

    /// Whom `email` is, who has agreed to read.
    pub(in crate::admin) async fn agrees(&self, email: &str) -> StoredGrant {
        let (store, kind) = (&self.fixture.store, PrincipalKind::User { email: email.to_owned() });
        let holder = store.ensure_principal(&kind, None, START).await.unwrap().id;
        let key = self.notes.grant_of(&holder);
        self.commit(key, Some(Secret::new(format!("canary-refresh-of-{email}")))).await
    }

    /// An owner has agreed for a virtual account.
    pub(in crate::admin) async fn agrees_for(&self, owner: &StoredGrant, account: &str) -> StoredGrant {
        let kind = PrincipalKind::VirtualAccount { name: account.to_owned() };
        let holder = self.fixture.store.ensure_principal(&kind, None, START).await.unwrap().id;
        let by = PrincipalId(owner.key.holder.clone());
        self.commit_by(Some(by), self.notes.grant_of(&holder), None).await
    }

    async fn commit(&self, key: GrantKey, refresh: Option<Secret>) -> StoredGrant {
        let by = (key.holder != SERVICE_HOLDER).then(|| PrincipalId(key.holder.clone()));
        self.commit_by(by, key, refresh).await
    }

    async fn commit_by(&self, by: Option<PrincipalId>, key: GrantKey, refresh: Option<Secret>) -> StoredGrant {
        let (store, id, generation) = (&self.fixture.store, keys::grant_id(&Tenant("t".into()), &key), Generation(1));
        let pair = Pair::new(&self.fixture.vault, &id).await.unwrap();
        let (access_token, refresh_token) = pair.seal(&id, generation, &Secret::new("canary-access"), refresh.as_ref());
        let hour = std::time::Duration::from_secs(3600);
        let (issued_at, expires_at, refresh_after) = (START, START.after(hour), START.after(hour / 5 * 4));
        let material = Material { access_token, refresh_token, issued_at, expires_at, refresh_after };
        let (scopes, auth_revisions) = (vec!["read".to_owned()], vec!["r1".to_owned()]);
        let (account, consented_at) = (Some("U1".to_owned()), Some(START));
        let commit = GrantCommit {
            id: id.clone(),
            consented_by: by,
            key,
            generation,
            material,
            scopes,
            auth_revisions,
            account,
            consented_at,
            invalidates: None,
        };
        store.commit_grant(&commit).await.unwrap();
        store.grant_by_id(&id).await.unwrap().unwrap()
    }

    async fn list(&self, user: &str, server: &str) -> Result<Vec<proto::GrantSummary>, Status> {
        let servers = Arc::clone(&self.fixture.servers.borrow());
        Ok(list(&*self.fixture.store, &servers, user, server).await?.grants)
    }

    async fn revoke(&self, which: Which) -> Result<Vec<proto::RevokedGrant>, Status> {
        let actor = Actor::operator(1000);
        Ok(revoke(&*self.fixture.store, &self.fixture.grants, Some(which), &actor).await?.revoked)
    }

    /// Somebody's grant, with nothing else of them.
    pub(in crate::admin) async fn holds(&self, holder: &str) {
        let key = self.notes.grant_of(&PrincipalId(holder.to_owned()));
        self.commit_by(None, key, Some(Secret::new(format!("canary-refresh-of-{holder}")))).await;
    }

    /// Whether proxies are told to let go of this grant.
    pub(in crate::admin) fn is_held(&self, grant: &str) -> bool {
        let mut proxy = Box::pin(self.fixture.publisher.updates(0, crate::peer::Scope::Every));
        // The stream never ends: as many as there can be before it waits.
        std::iter::from_fn(|| futures::FutureExt::now_or_never(proxy.next()).flatten()?.update)
            .any(|update| matches!(update, Update::Hold(hold) if hold.grant == grant))
    }

    pub(in crate::admin) async fn token(&self, holder: &str) -> Result<(), RefreshError> {
        let holder = PrincipalId(holder.to_owned());
        let source = Source::Person { client: Arc::clone(&self.notes), holder };
        self.fixture.refresher.token(&source, Need::Live).await.map(|_| ())
    }
}

fn server(name: &str, code: &Arc<AuthorizationCode>) -> (ServerName, Arc<Server>) {
    let name = ServerName(format!("demo/{name}"));
    let server = Server {
        name: name.clone(),
        url: "https://mcp.example.com".parse().unwrap(),
        auth: Auth::AuthorizationCode(Arc::clone(code)),
        subjects: vec!["team:everyone".to_owned()],
        allow_plaintext: false,
        revision: "r1".into(),
    };
    (name, Arc::new(server))
}

#[tokio::test]
async fn o13_revoking_ends_a_grant_here_at_every_proxy_and_at_the_provider() {
    let office = Office::at(&GENERIC, true).await;
    let (alice, bob) = (office.agrees(ALICE).await, office.agrees(BOB).await);
    office.token(&alice.key.holder).await.unwrap();
    let revoked = office.revoke(Which::Id(alice.id.clone())).await.unwrap();
    let told = (revoked[0].provider.as_str(), revoked[0].at_provider.as_str(), revoked[0].manage_url.as_str());
    assert_eq!((revoked.len(), told), (1, ("login.example.com", "revoked", "")));

    assert!(office.fixture.provider.seen()[0].starts_with("token=canary-refresh-of-alice%40example.com&"));
    let refused = office.token(&alice.key.holder).await.unwrap_err();
    assert!(matches!(refused, RefreshError::NeedsConsent { reason: ConsentReason::Revoked }), "{refused:?}");
    let mut proxy = Box::pin(office.fixture.publisher.updates(0, crate::peer::Scope::Every));
    let mut updates = std::iter::from_fn(|| futures::executor::block_on(proxy.next())?.update);
    let hold = updates.find_map(|update| if let Update::Hold(hold) = update { Some(hold) } else { None }).unwrap();
    assert_eq!((hold.grant.as_str(), hold.generation), (alice.id.as_str(), 1));
    assert!(hold.until_ms >= START.0 + 3_600_000, "as long as a proxy may keep a credential");
    let rows = office.fixture.rows("grant.revoked").await;
    assert!(rows.len() == 1 && rows[0].contains(r#""issuer":"unix","subject":"1000""#), "{rows:?}");
    assert!(rows[0].contains(&alice.id) && !rows[0].contains("canary"), "i9");

    let listed = office.list(ALICE, "").await.unwrap();
    assert_eq!((listed[0].standing.as_str(), listed[0].reason.as_str()), ("revoked", "operator"));
    assert_eq!(office.revoke(Which::Id(alice.id)).await.unwrap(), [], "once");
    assert_eq!(office.fixture.provider.count(), 1);
    office.token(&bob.key.holder).await.unwrap();
}

#[tokio::test]
async fn o13_the_spare_is_revoked_with_the_pair() {
    let office = Office::at(&GENERIC, true).await;
    let alice = office.agrees(ALICE).await;
    let (pair, token) = (Pair::new(&office.fixture.vault, &alice.id).await.unwrap(), Secret::new("canary-spare"));
    let (_, spare) = pair.seal(&alice.id, Generation(2), &Secret::new("unused"), Some(&token));
    office.fixture.store.keep_spare(&alice.id, Generation(1), Generation(2), &spare.unwrap()).await.unwrap();
    let revoked = office.revoke(Which::Id(alice.id)).await.unwrap();
    assert_eq!(revoked[0].at_provider, "revoked");
    let mut seen = office.fixture.provider.seen();
    seen.sort();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].starts_with("token=canary-refresh-of-alice") && seen[1].starts_with("token=canary-spare&"));
}

#[tokio::test]
async fn o13_what_a_refresh_brings_home_to_an_ended_grant_is_revoked_and_the_end_waits_for_nothing() {
    let office = Office::at(&GENERIC, true).await;
    let (alice, provider) = (office.agrees(ALICE).await, &office.fixture.provider);
    office.fixture.clock.advance(std::time::Duration::from_secs(3600));
    provider.answers(200, crate::refresher::tests::provider::PAIR);
    provider.gate.send_replace(false);
    let mut requests = provider.requests.subscribe();
    let ending = async {
        requests.wait_for(|count| *count == 1).await.unwrap();
        let revoking = office.revoke(Which::Id(alice.id.clone()));
        let opening = async {
            // The old pair's revocation is under way as well: here the grant has ended by then.
            requests.wait_for(|count| *count == 2).await.unwrap();
            let stored = office.fixture.store.grant_by_id(&alice.id).await.unwrap().unwrap();
            let revoked = crate::store::Standing::Revoked("operator".to_owned());
            assert_eq!((stored.standing, stored.material), (revoked, None));
            provider.gate.send_replace(true);
        };
        tokio::join!(revoking, opening).0.unwrap();
        requests.wait_for(|count| *count == 3).await.unwrap();
    };
    let both = async { tokio::join!(office.token(&alice.key.holder), ending) };
    let (refused, ()) = tokio::time::timeout(std::time::Duration::from_secs(20), both).await.expect("it is revoked");
    assert!(matches!(refused, Err(RefreshError::NeedsConsent { reason: ConsentReason::Revoked })), "{refused:?}");
    while provider.seen().len() < 3 {
        tokio::task::yield_now().await;
    }
    let brought = |seen: &String| seen.starts_with("token=canary-refresh-") && !seen.contains("alice");
    assert_eq!(provider.seen().iter().filter(|seen| brought(seen)).count(), 1, "{:?}", provider.seen());
}

#[tokio::test]
async fn revoking_all_that_one_person_has_leaves_everybody_elses() {
    let office = Office::at(&GENERIC, true).await;
    let (alice, bob) = (office.agrees(ALICE).await, office.agrees(BOB).await);
    let elsewhere = GrantKey { provider_client: "gone".to_owned(), holder: alice.key.holder.clone() };
    let elsewhere = office.commit(elsewhere, None).await;
    let revoked = office.revoke(Which::AllOf("Alice@example.com".to_owned())).await.unwrap();
    let mut told: Vec<_> = revoked.iter().map(|one| (one.id.clone(), one.at_provider.as_str())).collect();
    let mut expected = vec![(alice.id, "revoked"), (elsewhere.id, "revocation_unsupported")];
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    office.token(&bob.key.holder).await.unwrap();
}

#[tokio::test]
async fn o13_says_what_the_provider_did_not_do_and_where_to_do_it() {
    for (profile, status, at_provider) in
        [(&GENERIC, 503, "revocation_failed"), (&GITHUB, 200, "revocation_unsupported")]
    {
        let office = Office::at(profile, status == 503).await;
        let alice = office.agrees(ALICE).await;
        office.fixture.provider.answers(status, "");
        let revoked = office.revoke(Which::Id(alice.id)).await.unwrap().remove(0);
        assert_eq!((revoked.at_provider.as_str(), revoked.manage_url.is_empty()), (at_provider, profile == &GENERIC));
        assert!(office.token(&alice.key.holder).await.is_err(), "it has ended here whatever the provider did");
    }
}

#[tokio::test]
async fn a_grant_is_told_with_everything_but_its_tokens() {
    let office = Office::at(&GENERIC, true).await;
    let (alice, _) = (office.agrees(ALICE).await, office.agrees(BOB).await);
    let listed = office.list(ALICE, "demo/notes").await.unwrap();
    let [told] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((told.id.as_str(), told.holder.as_str()), (alice.id.as_str(), "user:alice@example.com"));
    assert_eq!((told.provider.as_str(), told.profile.as_str()), ("login.example.com", "generic"));
    assert_eq!((told.servers.join(" ").as_str(), told.scopes.join(" ").as_str()), ("demo/notes", "read"));
    assert_eq!((told.account.as_str(), told.standing.as_str(), told.generation), ("U1", "live", 1));
    assert_eq!((told.expires_at_ms, told.intent_deadline_ms), (Some(START.0 + 3_600_000), None));
    assert_eq!(told.consented_by, "user:alice@example.com");
    assert!(told.has_refresh_token && !format!("{told:?}").contains("canary"), "i9");
    assert_eq!(office.list("", "").await.unwrap().len(), 2);
    assert_eq!(office.list("", "demo/board").await.unwrap(), [], "nobody agreed to what it needs");
}

#[tokio::test]
async fn a_grant_of_a_virtual_account_says_which_owner_agreed() {
    let office = Office::at(&GENERIC, true).await;
    let (alice, _) = (office.agrees(ALICE).await, office.agrees(BOB).await);
    let runtime = office.agrees_for(&alice, "runtime").await;
    let listed = office.list("", "").await.unwrap();
    let told = listed.into_iter().find(|grant| grant.id == runtime.id).unwrap();
    assert_eq!(
        (told.holder.as_str(), told.consented_by.as_str()),
        ("virtualaccount:runtime", "user:alice@example.com")
    );
}

#[tokio::test]
async fn refuses_what_is_not_there_and_what_is_nobodys() {
    let office = Office::at(&GENERIC, true).await;
    office.agrees(ALICE).await;
    let service = GrantKey { provider_client: "office".to_owned(), holder: SERVICE_HOLDER.to_owned() };
    let service = office.commit(service, None).await;
    let absent = |refused: Result<Vec<_>, Status>| assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    for id in ["", "none", service.id.as_str()] {
        absent(office.revoke(Which::Id(id.to_owned())).await);
        assert_eq!(of_somebody(&*office.fixture.store, id).await.unwrap_err().code(), Code::NotFound, "{id}");
    }
    absent(office.revoke(Which::AllOf(BOB.to_owned())).await);
    for (user, server) in [(BOB, ""), ("", "demo/nowhere"), (ALICE, "demo/nowhere")] {
        assert_eq!(office.list(user, server).await.unwrap_err().code(), Code::NotFound, "{user} {server}");
    }
    let vague = revoke(&*office.fixture.store, &office.fixture.grants, None, &Actor::operator(0)).await;
    assert_eq!(vague.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(office.fixture.provider.count(), 0);
}

#[tokio::test]
async fn v3_a_corrupt_record_is_named_by_a_list_and_by_a_revocation_and_keeps_neither_from_the_others() {
    let office = Office::at(&GENERIC, true).await;
    let (alice, bob) = (office.agrees(ALICE).await, office.agrees(BOB).await);
    let (store, servers) = (&office.fixture.store, Arc::clone(&office.fixture.servers.borrow()));
    store.damage_grant(&bob.id).await;
    let told = list(&**store, &servers, "", "").await.unwrap();
    assert_eq!(told.grants.iter().map(|grant| grant.id.as_str()).collect::<Vec<_>>(), [alice.id.as_str()]);
    assert!(told.corrupt.len() == 1 && told.corrupt[0].contains(&bob.id), "{:?}", told.corrupt);
    office.token(&alice.key.holder).await.unwrap();
    assert!(office.token(&bob.key.holder).await.is_err());
    let refused = of_somebody(&**store, &bob.id).await.unwrap_err();
    assert!(refused.code() == Code::DataLoss && refused.message().contains(&bob.id), "{refused}");
    let ended = revoke(&**store, &office.fixture.grants, Some(Which::AllOf(BOB.into())), &Actor::operator(1000)).await;
    let ended = ended.unwrap();
    assert!(ended.revoked.is_empty() && ended.corrupt.len() == 1 && ended.corrupt[0].contains(&bob.id), "{ended:?}");
}

impl Office {
    async fn refresh(&self, id: &str, force: bool) -> Result<proto::RefreshGrantResponse, Status> {
        let request = proto::RefreshGrantRequest { id: id.to_owned(), force };
        refresh(&*self.fixture.store, &self.fixture.grants, request, Actor::operator(1000)).await
    }
}

const ANOTHER: &str = r#"{"access_token":"canary-NUMBER","refresh_token":"canary-refresh-NUMBER","expires_in":3600}"#;

#[tokio::test]
async fn refreshes_what_is_due_or_forced_and_records_first_who_asked() {
    let office = Office::at(&GENERIC, true).await;
    let alice = office.agrees(ALICE).await;
    office.fixture.provider.answers(200, ANOTHER);
    let told = office.refresh(&alice.id, false).await.unwrap();
    let due = alice.material.as_ref().unwrap().refresh_after.0;
    assert_eq!((told.outcome.as_str(), told.refresh_after_ms), ("not_due", Some(due)));
    assert_eq!(office.fixture.provider.count(), 0);
    let told = office.refresh(&alice.id, true).await.unwrap();
    assert_eq!((told.outcome.as_str(), told.generation, told.provider.as_str()), ("refreshed", 2, "login.example.com"));
    assert!(told.expires_at_ms > told.refresh_after_ms && told.refresh_after_ms > Some(START.0), "{told:?}");
    let stored = office.fixture.store.grant_by_id(&alice.id).await.unwrap().unwrap();
    assert_eq!((office.fixture.provider.count(), stored.generation), (1, Generation(2)));
    let asked = office.fixture.rows("refresh.asked").await;
    assert!(asked.len() == 2 && asked[1].contains("by_force"), "{asked:?}");
    assert!(asked[1].contains(r#""issuer":"unix","subject":"1000""#) && asked[1].contains(&alice.id), "{asked:?}");
    assert_eq!(office.refresh("none", true).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn says_what_the_provider_said_when_it_gives_no_token() {
    let office = Office::at(&GENERIC, true).await;
    let alice = office.agrees(ALICE).await;
    for (status, body, expected) in [
        (503, "{}", ("unavailable", "unavailable")),
        (401, r#"{"error":"invalid_client"}"#, ("refused", "invalid_client")),
        (400, r#"{"error":"invalid_grant"}"#, ("needs_consent", "invalid_grant")),
        (400, r#"{"error":"invalid_grant"}"#, ("needs_consent", "invalid_grant")),
    ] {
        office.fixture.provider.answers(status, body);
        let told = office.refresh(&alice.id, true).await.unwrap();
        assert_eq!((told.outcome.as_str(), told.reason.as_str()), expected);
        assert_eq!(told.retry_after_ms.is_some(), expected.0 == "unavailable");
    }
    assert_eq!(office.fixture.provider.count(), 3, "what has ended is asked for no more");
}

#[tokio::test]
async fn not_even_force_makes_the_last_attempt_before_its_time() {
    let office = Office::at(&GENERIC, true).await;
    let alice = office.agrees(ALICE).await;
    // A success that nobody understands: the refresh token may be used up.
    office.fixture.provider.answers(200, "<html>");
    assert_eq!(office.refresh(&alice.id, true).await.unwrap().outcome, "unavailable");
    office.fixture.provider.answers(200, ANOTHER);
    let told = office.refresh(&alice.id, true).await.unwrap();
    assert_eq!((told.outcome.as_str(), office.fixture.provider.count()), ("unavailable", 1));
    assert!(told.retry_after_ms > Some(0));
}

#[tokio::test]
async fn says_which_scopes_of_which_server_are_missing() {
    let office = Office::at(&GENERIC, true).await;
    office.agrees(ALICE).await;
    let told = office.list(ALICE, "").await.unwrap().remove(0);
    assert_eq!((told.servers, told.lacks), (vec!["demo/notes".to_owned()], vec!["demo/board admin".to_owned()]));
}
