//! Nobody's token serves anybody else, whatever is cancelled, renewed or named alike.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use e2e::{Auth, Browser, Connection, OAuth, Provider, Reply, Server, World, run, unique};
use futures::{StreamExt, stream};
use serde_json::json;

/// Whose each access token is that a provider ever issued.
fn holders(provider: &Provider) -> BTreeMap<String, String> {
    let families = provider.families().into_iter();
    let tokens = families.flat_map(|family| {
        let user = family.user;
        family.access_tokens.into_iter().map(move |token| (format!("Bearer {token}"), user.clone()))
    });
    tokens.collect()
}

/// Who an upstream was called as; `None` if the call was put off: where all tokens are over at once, not all who wait
/// for the next ones have them in time.
fn called_as(reply: &Reply) -> Option<Vec<String>> {
    let is_served = reply.json().get("result").is_some();
    assert!(is_served || reply.rpc_error().code == -31004, "{reply}");
    is_served.then(|| reply.called_as())
}

/// A provider, and two servers that share each person's grant at it.
async fn servers(world: &World) -> (Arc<Provider>, Vec<Server>) {
    let provider = Arc::new(Provider::start().await);
    // Renewed some times while it lasts.
    provider.access_token_life(Duration::from_secs(5));
    let servers = world.two_servers_at(&provider).await;
    (provider, servers)
}

#[test]
fn h15_in_ten_thousand_interleaved_calls_each_is_made_with_its_own_persons_token() {
    run(async {
        let world = World::build().concurrency(2).start().await;
        let (here, there) = (servers(&world).await, servers(&world).await);
        let servers: Vec<&Server> = here.1.iter().chain(&there.1).collect();
        let audience = json!(servers.iter().map(|server| &server.resource).collect::<Vec<_>>());
        let people = ["alice", "bob", "carol", "dave", "erin", "frank"].map(Browser::of);
        let mut tokens = Vec::new();
        for person in &people {
            world.consent(person, servers[0]).await;
            world.consent(person, servers[2]).await;
            tokens.push(world.issuer.token(&person.login, servers[0]).claim("aud", audience.clone()).mint());
        }
        let open = |_| Connection::open(world.envoy.gateway, servers[0].host());
        let connections: Vec<_> = stream::iter(0..8).then(open).map(|open| open.expect("it listens")).collect().await;
        let calls = stream::iter(0..10_000_usize).map(|call| {
            let (server, person) = (servers[call % 4], (call / 4) % people.len());
            let (connection, path, token) = (&connections[call % 8], &server.path, &tokens[person]);
            async move { Some((call, called_as(&connection.call_or_cancel(call, path, token).await?)?)) }
        });
        let answered: Vec<_> = calls.buffer_unordered(64).filter_map(std::future::ready).collect().await;
        assert!(answered.len() > 8_000, "only {} were neither cancelled nor put off", answered.len());
        let renewed = |provider: &Provider| provider.families().iter().any(|family| family.access_tokens.len() > 1);
        assert!(renewed(&here.0) && renewed(&there.0), "some of their tokens while it lasted");
        let holders = [holders(&here.0), holders(&there.0)];
        let whose = |call: usize, used: &[String]| {
            let [used] = used else { panic!("call {call} came with {used:?}") };
            assert_eq!(holders[call % 4 / 2].get(used), Some(&people[(call / 4) % people.len()].login), "call {call}");
        };
        answered.iter().for_each(|(call, used)| whose(*call, used));
        // What was cancelled has arrived, too.
        for request in servers.iter().flat_map(|server| server.upstream.requests()) {
            let id = request.json()["id"].as_u64().and_then(|id| usize::try_from(id).ok());
            id.into_iter().for_each(|id| whose(id, &request.all("authorization")));
        }
    });
}

#[test]
fn o11_a_token_of_the_gate_itself_never_serves_where_each_person_has_their_own() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let scope = unique("scope");
        let shared = Auth::ClientCredentials { provider: provider.clone(), scope: scope.clone() };
        let shared = world.server().auth(shared).register().await;
        let personal = Auth::AuthorizationCode { at: OAuth::at(&provider), scopes: vec![scope] };
        let personal = world.server().auth(personal).register().await;
        let token = |name: &str, server: &Server| world.issuer.token(name, server).mint();
        let gate = shared.call_as(&token("alice", &shared)).send().await.called_as();
        personal.consent_link(&token("alice", &personal)).await;
        // Not even for somebody whose name is that of the holder of the gate's own grants.
        personal.consent_link(&token("service", &personal)).await;
        personal.upstream.assert_untouched("a caller without a grant");
        world.consent(&Browser::of("alice"), &personal).await;
        let own = personal.call_as(&token("alice", &personal)).send().await.called_as();
        assert_eq!(holders(&provider).get(&own[0]).map(String::as_str), Some("alice"));
        // Of one client, one scope and one person, both kept by the proxy now.
        for _ in 0..3 {
            assert_eq!(shared.call_as(&token("alice", &shared)).send().await.called_as(), gate);
            assert_eq!(personal.call_as(&token("alice", &personal)).send().await.called_as(), own);
        }
        assert!(!holders(&provider).contains_key(&gate[0]), "the gate's own token is nobody's");
        assert_eq!(shared.call_as(&token("bob", &shared)).send().await.called_as(), gate);
        personal.consent_link(&token("bob", &personal)).await;
        assert!(personal.upstream.requests().iter().all(|request| request.all("authorization") == own));
    });
}

#[test]
fn o11_names_that_read_alike_when_joined_are_called_for_each_with_its_own_token() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let servers = world.two_servers_at(&provider).await;
        servers.iter().for_each(|server| server.upstream.guarded_by(&provider));
        let (name, both) = (unique("a"), json!(servers.iter().map(|server| &server.resource).collect::<Vec<_>>()));
        // With what stands beside a subject wherever something is kept: separators, a server, a tool.
        let alike = ["", ":", "/", &format!(":{}", servers[0].name), &format!(":{}", servers[1].name), ":tools/call"];
        let mut people = Vec::new();
        for tail in alike {
            let person = Browser::of(&unique("person"));
            let token = world.issuer.token(&format!("{name}{tail}"), &servers[0]).claim("aud", both.clone());
            let token = token.claim("email", format!("{}@example.com", person.login)).mint();
            let link = servers[0].consent_link(&token).await;
            world.sign_in(&person).await;
            assert!(world.connect(&person, &link).await.text.contains("is connected"), "{tail:?}");
            people.push((person, token));
        }
        // The second round is answered from what the proxy has kept.
        for round in 0..2 {
            for (server, (person, token)) in
                servers.iter().flat_map(|server| people.iter().map(move |one| (server, one)))
            {
                let holder = server.call_as(token).send().await.result()["holder"].clone();
                assert_eq!(holder, person.login.as_str(), "round {round} at {}", server.name);
            }
        }
        servers.iter().for_each(|server| server.upstream.forget());
        let stranger = |subject: &str| world.issuer.token(subject, &servers[0]).claim("email", ()).mint();
        let (upper, padded, mail) = (name.to_uppercase(), format!(" {name}"), format!("{name}@example.com"));
        for subject in [upper.as_str(), &padded, &mail, &format!("{name}\0"), &format!("{name}::"), &name[1..], ""] {
            let reply = servers[0].call_as(&stranger(subject)).send().await;
            assert!(reply.status == 401 || reply.rpc_error().code == -31001, "{subject:?}: {reply}");
        }
        servers[0].upstream.assert_untouched("somebody else");
    });
}

#[test]
fn r9_another_persons_link_shows_nothing_begins_nothing_and_stores_nothing() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        let token = |name: &str| world.issuer.token(name, &server).mint();
        let (alice, bob) = (Browser::of("alice"), Browser::of("bob"));
        let (hers, his) = (server.consent_link(&token("alice")).await, server.consent_link(&token("bob")).await);
        assert_ne!(hers, his);
        world.sign_in(&alice).await;
        world.sign_in(&bob).await;
        let shown = bob.get(&hers).await;
        assert!(shown.status == 403 && !shown.text.contains(&server.name), "{shown:?}");
        // His own form, sent to where hers goes.
        let mut form = bob.get(&his).await;
        form.text = form.text.replace(his.path(), hers.path());
        let begun = bob.press(&form, "Connect").await;
        assert!(begun.status == 403 && begun.location().is_none(), "{begun:?}");
        assert!(provider.authorizations().is_empty(), "nobody was sent to the provider");
        assert_eq!(
            (server.consent_link(&token("alice")).await, server.consent_link(&token("bob")).await),
            (hers.clone(), his)
        );
        assert!(world.connect(&alice, &hers).await.text.contains("is connected"), "it is still hers");
        server.consent_link(&token("bob")).await;
    });
}
