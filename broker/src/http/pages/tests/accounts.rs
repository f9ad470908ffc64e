//! More than one account at a provider, more than one consent, and the end of a grant.

use super::*;
use crate::oauth::profile::GITHUB;
use crate::store::Standing;

pub(super) fn of_account(name: &str) -> String {
    TOKENS.replace("\"token_type\"", &format!(r#""workspace_id":"{name}","token_type""#))
}

/// Alice has connected account `one`, and comes back with account `two`.
pub(super) async fn come_back_as_another(site: &Site, alice: &Browser) -> String {
    site.fixture.provider.answers(200, &of_account("one"));
    site.connect(alice, "wiki").await;
    site.needs("wiki", &["more"]);
    site.fixture.provider.answers(200, &of_account("two"));
    let consent = site.link(alice, "wiki").await;
    let underway = site.set_out(alice, &consent, &[]).await;
    assert_eq!(site.get(alice, &underway.callback("c2")).await.location(), format!("/connect/{consent}"));
    let page = site.get(alice, &format!("/connect/{consent}")).await;
    assert!(page.says("<code>two</code>") && page.says("<code>one</code>"), "{}", page.body);
    let grant = site.grant(alice, WITH_ACCOUNTS).await.unwrap();
    assert_eq!((grant.generation.0, grant.account.as_deref()), (1, Some("one")), "nothing is replaced unasked");
    consent
}

#[tokio::test]
async fn o12_another_account_replaces_the_first_only_when_the_person_says_so() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = come_back_as_another(&site, &alice).await;
    let path = format!("/connect/{consent}");
    assert_eq!(site.post(&alice, &path, &[("asked", "")]).await.location(), path, "it does not begin again meanwhile");
    assert_eq!(site.post(&alice, &format!("{path}/account"), &[]).await.status, StatusCode::BAD_REQUEST);
    for _ in 0..2 {
        let reply = site.post(&alice, &format!("{path}/account"), &[("account", "replace")]).await;
        assert_eq!(reply.location(), path);
    }
    let grant = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
    assert_eq!((grant.generation.0, grant.account.as_deref()), (2, Some("two")));
    assert_eq!(site.tokens(&grant).await, ("canary-token-2".to_owned(), "canary-refresh-2".to_owned()));
    assert_eq!(site.revoked(), ["canary-refresh-1"]);
    assert!(site.get(&alice, &path).await.says("is connected"));
    assert_eq!(site.consent(&consent).await.held, None);
}

#[tokio::test]
async fn o12_an_account_that_is_not_wanted_is_revoked() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = come_back_as_another(&site, &alice).await;
    let path = format!("/connect/{consent}");
    assert_eq!(site.post(&alice, &format!("{path}/account"), &[("account", "keep")]).await.location(), path);
    let grant = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
    assert_eq!((grant.generation.0, grant.account.as_deref()), (1, Some("one")));
    assert_eq!(site.revoked(), ["canary-refresh-2"]);
    assert!(site.get(&alice, &path).await.says("You kept the account"));
}

#[tokio::test]
async fn o12_tokens_of_an_account_that_nobody_chose_for_an_hour_are_revoked() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = come_back_as_another(&site, &alice).await;
    site.fixture.clock.advance(std::time::Duration::from_secs(70 * 60));
    assert_eq!(site.pages.consents.abandon().await.unwrap(), 0);
    assert!(site.revoked().is_empty());
    site.fixture.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(site.pages.consents.abandon().await.unwrap(), 1);
    assert_eq!(site.revoked(), ["canary-refresh-2"]);
    let grant = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
    assert_eq!((grant.generation.0, grant.account.as_deref()), (1, Some("one")));
    let ended = site.consent(&consent).await;
    assert_eq!((ended.held, ended.outcome.as_deref()), (None, Some("kept")));
    assert_eq!(site.pages.consents.abandon().await.unwrap(), 0, "once");
}

#[tokio::test]
async fn o12_the_same_account_and_one_after_a_disconnect_need_no_second_question() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.fixture.provider.answers(200, &of_account("one"));
    site.connect(&alice, "wiki").await;
    site.needs("wiki", &["more"]);
    // A provider that gives no refresh token the second time means the first one to stay.
    let without = of_account("one").replace(r#""refresh_token":"canary-refresh-NUMBER","#, "");
    site.fixture.provider.answers(200, &without);
    site.connect(&alice, "wiki").await;
    let grant = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
    assert_eq!(grant.generation.0, 2);
    assert_eq!(site.tokens(&grant).await, ("canary-token-2".to_owned(), "canary-refresh-1".to_owned()));
    site.post(&alice, &format!("/connections/{}/disconnect", grant.id), &[]).await;
    site.fixture.provider.answers(200, &of_account("two"));
    site.connect(&alice, "wiki").await;
    assert_eq!(site.grant(&alice, WITH_ACCOUNTS).await.unwrap().account.as_deref(), Some("two"));
}

#[tokio::test]
async fn o12_a_step_up_loses_no_scope_and_revokes_nothing() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.connect(&alice, "notes").await;
    site.needs("board", &["board", "more"]);
    let underway = site.set_out(&alice, &site.link(&alice, "board").await, &[]).await;
    assert_eq!(underway.asked("scope").as_deref(), Some("board more read write"));
    site.get(&alice, &underway.callback("c2")).await;
    let grant = site.grant(&alice, CLIENT).await.unwrap();
    assert_eq!((grant.generation.0, grant.scopes.join(" ").as_str()), (2, "board more read write"));
    assert!(site.revoked().is_empty());
}

#[tokio::test]
async fn o12_what_was_stepped_up_to_is_asked_for_again_after_the_provider_ended_it_and_not_after_she_did() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.connect(&alice, "notes").await;
    let server = Arc::clone(&site.fixture.servers.borrow().by_name[&ServerName("demo/notes".into())]);
    let wider = async || {
        let more = ["more".to_owned()];
        site.pages.consents.widened(&alice.principal, &alice.subjects, &server, &more).await.unwrap()
    };
    let underway = site.set_out(&alice, &wider().await.unwrap().id, &[]).await;
    assert_eq!(underway.asked("scope").as_deref(), Some("board more read write"));
    site.get(&alice, &underway.callback("c2")).await;
    assert_eq!(wider().await, None, "she has agreed to it");
    let grant = site.grant(&alice, CLIENT).await.unwrap();
    site.fixture.store.end_refreshes(&grant.id, grant.generation, "invalid_grant").await.unwrap();
    let underway = site.set_out(&alice, &site.link(&alice, "notes").await, &[]).await;
    assert_eq!(underway.asked("scope").as_deref(), Some("board more read write"));
    site.get(&alice, &underway.callback("c3")).await;
    assert_eq!(wider().await, None, "nothing is lost");
    site.post(&alice, &format!("/connections/{}/disconnect", grant.id), &[]).await;
    let underway = site.set_out(&alice, &site.link(&alice, "notes").await, &[]).await;
    assert_eq!(underway.asked("scope").as_deref(), Some("board read write"), "what she ended begins anew");
}

#[tokio::test]
async fn o12_proxies_let_go_of_what_an_agreement_replaces() {
    use futures::StreamExt as _;
    use sallyport_proto::broker::update::Update;
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.connect(&alice, "notes").await;
    site.needs("notes", &["read", "more"]);
    site.connect(&alice, "notes").await;
    let grant = site.grant(&alice, CLIENT).await.unwrap();
    let updates = site.fixture.publisher.updates(0, crate::peer::Scope::Every).take(2).collect::<Vec<_>>().await;
    let Some(Update::Hold(hold)) = &updates[1].update else { panic!("{updates:?}") };
    assert_eq!((hold.grant.as_str(), hold.generation, grant.generation.0), (grant.id.as_str(), 1, 2));
}

#[tokio::test]
async fn a_provider_that_grants_less_is_believed_and_the_person_told() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.fixture.provider.answers(200, &TOKENS.replace("\"token_type\"", r#""scope":"read board","token_type""#));
    let consent = site.connect(&alice, "notes").await;
    assert_eq!(site.grant(&alice, CLIENT).await.unwrap().scopes, ["board", "read"]);
    assert!(site.get(&alice, &format!("/connect/{consent}")).await.says("granted less"));
    assert!(!site.get(&alice, "/connections").await.says("<td>demo/board</td>"), "demo/board works");
}

#[tokio::test]
async fn a_provider_that_leaves_out_what_another_scope_includes_is_not_asked_for_ever() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.are_at(&GITHUB);
    site.needs("notes", &["user", "user:email"]);
    site.fixture.provider.answers(200, &TOKENS.replace("\"token_type\"", r#""scope":"user","token_type""#));
    let consent = site.connect(&alice, "notes").await;
    assert_eq!(site.grant(&alice, CLIENT).await.unwrap().scopes, ["user", "user:email"]);
    assert!(!site.get(&alice, &format!("/connect/{consent}")).await.says("granted less"));
}

#[tokio::test]
async fn o13_disconnecting_ends_the_grant_here_and_at_the_provider() {
    let site = Site::new().await;
    let (alice, bob) = (site.browser("alice").await, site.browser("bob").await);
    site.connect(&alice, "notes").await;
    let grant = site.grant(&alice, CLIENT).await.unwrap();
    let page = site.get(&alice, "/connections").await;
    let path = format!("/connections/{}/disconnect", grant.id);
    assert!(page.says("login.example.com") && page.says("demo/board") && page.says(&path), "{}", page.body);
    assert_eq!(site.post(&bob, &path, &[]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.get(&alice, &path).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(site.grant(&alice, CLIENT).await, Some(grant.clone()), "neither bob nor a GET ends it");

    let page = site.post(&alice, &path, &[]).await;
    assert!(page.says("It is disconnected") && page.says("has ended the access"), "{}", page.body);
    assert_eq!(site.revoked(), ["canary-refresh-1"]);
    let ended = site.grant(&alice, CLIENT).await.unwrap();
    assert_eq!((ended.material, ended.standing), (None, Standing::Revoked("disconnected".into())));
    let row = site.fixture.rows("grant.revoked").await.remove(0);
    assert!(row.contains("\"reason\":\"revoked\"") && !row.contains("canary"));
    assert!(!site.get(&alice, "/connections").await.says(&path));
    let form = [("server", "demo/notes")];
    let reply = site.post(&alice, "/connections/connect", &form).await;
    let consent = reply.location().strip_prefix("/connect/").unwrap().to_owned();
    let underway = site.set_out(&alice, &consent, &[]).await;
    site.get(&alice, &underway.callback("c2")).await;
    assert_eq!(site.grant(&alice, CLIENT).await.unwrap().generation.0, 2, "its generations go on");
}

#[tokio::test]
async fn o13_says_when_the_provider_was_not_told() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.connect(&alice, "notes").await;
    site.fixture.provider.answers(503, "");
    let path = format!("/connections/{}/disconnect", site.grant(&alice, CLIENT).await.unwrap().id);
    assert!(site.post(&alice, &path, &[]).await.says("could not be told"));
    assert!(site.fixture.rows("grant.revoked").await[0].contains("revocation_failed"));
    assert_eq!(site.grant(&alice, CLIENT).await.unwrap().material, None);
}

#[tokio::test]
async fn what_is_left_of_a_grant_is_shown_with_the_reason_and_asked_for_anew() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.connect(&alice, "notes").await;
    let grant = site.grant(&alice, CLIENT).await.unwrap();
    site.fixture.store.end_refreshes(&grant.id, grant.generation, "invalid_grant").await.unwrap();
    let page = site.get(&alice, "/connections").await;
    assert!(page.says("needs your consent again: the provider says that the access is over"), "{}", page.body);
    assert!(page.says("Connect demo/notes"), "{}", page.body);
    let consent = site.link(&alice, "notes").await;
    assert!(site.get(&alice, &format!("/connect/{consent}")).await.says("An agent wants to use"));
    site.post(&alice, &format!("/connections/{}/disconnect", grant.id), &[]).await;
    assert_eq!(site.revoked(), ["canary-token-1"], "what was left is revoked as well");
    assert_eq!(site.grant(&alice, CLIENT).await.unwrap().material, None);
}

#[tokio::test]
async fn o2_another_owner_is_not_asked_about_the_account_that_one_owner_came_back_with() {
    let site = Site::new().await;
    let people = ["user:alice@example.com", "user:bob@example.com"].map(str::to_owned);
    site.fixture.servers.send_modify(|servers| {
        let servers = Arc::make_mut(servers);
        servers.virtual_accounts.insert("runtime".to_owned(), VirtualAccount { owners: people.to_vec() });
        let wiki = servers.by_name.get_mut(&ServerName("demo/wiki".into())).unwrap();
        Arc::make_mut(wiki).subjects.push("virtualaccount:runtime".to_owned());
    });
    let (alice, bob) = (site.browser("alice").await, site.browser("bob").await);
    let kind = PrincipalKind::VirtualAccount { name: "runtime".into() };
    let principal = site.fixture.store.ensure_principal(&kind, None, START).await.unwrap().id;
    let runtime = Browser { principal, subjects: vec!["virtualaccount:runtime".into()], ..site.browser("carol").await };
    let comes_back = async |as_account: &str| {
        site.fixture.provider.answers(200, &of_account(as_account));
        let consent = site.link(&runtime, "wiki").await;
        let underway = site.set_out(&alice, &consent, &[("act-as-me", "yes")]).await;
        site.get(&alice, &underway.callback("c1")).await;
        consent
    };
    comes_back("one").await;
    let first = site.grant(&runtime, WITH_ACCOUNTS).await.unwrap();
    site.fixture.store.end_refreshes(&first.id, first.generation, "invalid_grant").await.unwrap();
    let path = format!("/connect/{}", comes_back("two").await);

    for reply in [
        site.get(&bob, &path).await,
        site.post(&bob, &format!("{path}/account"), &[("account", "replace")]).await,
        site.post(&bob, &format!("{path}/account"), &[("account", "keep")]).await,
    ] {
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.body);
        assert!(!reply.says("two") && !reply.says("<code>one"), "{}", reply.body);
        assert!(
            reply.says("Another owner") && reply.says("in ten minutes") && !reply.says("made for you"),
            "{}",
            reply.body
        );
    }
    assert_eq!(site.grant(&runtime, WITH_ACCOUNTS).await.unwrap().generation.0, 1);
    assert!(site.revoked().is_empty());
    let rows = site.fixture.rows("consent.refused").await;
    assert!(rows.len() == 3 && rows.iter().all(|row| row.contains("other_owner") && row.contains(&bob.principal.0)));

    assert!(site.get(&alice, &path).await.says("<code>two</code>"));
    site.post(&alice, &format!("{path}/account"), &[("account", "replace")]).await;
    let grant = site.grant(&runtime, WITH_ACCOUNTS).await.unwrap();
    assert_eq!((grant.account.as_deref(), grant.consented_by), (Some("two"), Some(alice.principal)));
}

#[tokio::test]
async fn o12_where_the_first_account_was_disconnected_meanwhile_there_is_none_to_keep() {
    for (choice, account, told) in [("replace", Some("two"), "is connected"), ("decline", None, "was not connected")] {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        let consent = come_back_as_another(&site, &alice).await;
        let first = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
        site.post(&alice, &format!("/connections/{}/disconnect", first.id), &[]).await;
        let (path, form) = (format!("/connect/{consent}"), format!("/connect/{consent}/account"));
        let page = site.get(&alice, &path).await;
        assert!(page.says("<code>two</code>") && page.says("disconnected meanwhile"), "{}", page.body);
        assert!(!page.says("Keep"), "{}", page.body);
        // The form of a page that was loaded before.
        assert_eq!(site.post(&alice, &form, &[("account", "keep")]).await.location(), path);
        assert_eq!(site.revoked(), ["canary-refresh-1"], "what she came back with is there to be chosen");
        site.post(&alice, &form, &[("account", choice)]).await;
        let live = site.grant(&alice, WITH_ACCOUNTS).await.filter(|grant| grant.standing == Standing::Live);
        assert_eq!(live.and_then(|grant| grant.account).as_deref(), account);
        let revoked: &[&str] =
            if account.is_some() { &["canary-refresh-1"] } else { &["canary-refresh-1", "canary-refresh-2"] };
        assert_eq!(site.revoked(), revoked);
        assert!(site.get(&alice, &path).await.says(told));
    }
}

#[tokio::test]
async fn o12_what_was_agreed_to_before_is_carried_over_for_what_is_known_to_be_the_same_account_only() {
    for (client, server_name, other, is_told) in
        [(CLIENT, "notes", "board", false), (WITH_ACCOUNTS, "wiki", "blog", true)]
    {
        let site = Site::new().await;
        site.fixture.provider.answers(200, &if is_told { of_account("one") } else { TOKENS.to_owned() });
        site.fixture.servers.send_modify(|servers| {
            let servers = Arc::make_mut(servers);
            let Auth::AuthorizationCode(code) = &servers.by_name[&ServerName(format!("demo/{server_name}"))].auth
            else {
                panic!("{server_name} needs no consent");
            };
            let beside = server(other, &code.client.clone(), &[], &["team:platform"]);
            servers.by_name.extend([beside]);
        });
        let alice = site.browser("alice").await;
        let subjects = vec!["user:alice@example.com".to_owned(), "team:platform".to_owned()];
        let of_team = Browser { subjects, ..site.browser("alice").await };
        site.connect(&of_team, server_name).await;
        let both = ["board", "blog", "notes", "wiki"].map(|name| format!("revision of demo/{name}"));
        let agreed: Vec<_> =
            both.into_iter().filter(|name| name.ends_with(server_name) || name.ends_with(other)).collect();
        assert_eq!(site.grant(&alice, client).await.unwrap().auth_revisions, agreed);

        // Another agent of hers, which the other server is not for.
        site.needs(server_name, &["more"]);
        site.connect(&alice, server_name).await;
        let kept = if is_told { agreed } else { vec![format!("revision of demo/{server_name}")] };
        assert_eq!(site.grant(&alice, client).await.unwrap().auth_revisions, kept, "{server_name}");
        let row = site.fixture.rows("consent.finished").await.pop().unwrap();
        assert_eq!(row.contains("account_not_told"), !is_told, "{row}");
    }
}
