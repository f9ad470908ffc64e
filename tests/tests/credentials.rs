//! Credentials: the right one for each caller and server, asked for once, and never lost to impatience.

use std::{sync::Arc, time::Duration};

use e2e::{
    Answer, Auth, Connection, Provider, Server, Upstream, World, eventually,
    provider::{Endpoint, Fault, Moment},
    run, spawn,
};
use futures::{StreamExt, future::join_all, stream};
use serde_json::json;

#[test]
fn each_kind_of_server_is_called_with_its_own_credential() {
    run(async {
        let world = World::shared().await;
        let none = world.open_server().await;
        let reply = none.call_as(&world.issuer.token("alice", &none).mint()).send().await;
        assert!(reply.called_as().is_empty(), "{reply}");

        let secret = e2e::unique("header-secret");
        let header = world.server().auth(Auth::Header { secret: secret.clone() }).register().await;
        let reply = header.call_as(&world.issuer.token("alice", &header).mint()).send().await;
        assert_eq!(reply.called_as(), [format!("Bearer {secret}")]);

        let provider = Arc::new(Provider::start().await);
        let grant = world.server().auth(Auth::client_credentials(&provider)).register().await;
        let reply = grant.call_as(&world.issuer.token("alice", &grant).mint()).send().await;
        assert_eq!(reply.called_as(), [format!("Bearer {}", provider.issued()[0])]);
        assert_eq!(provider.token_requests().len(), 1);
    });
}

#[test]
fn passthrough_demands_a_token_that_names_the_upstream() {
    run(async {
        let world = World::shared().await;
        let server = world.server().auth(Auth::Passthrough).register().await;
        let token = world.issuer.token("alice", &server);
        let reply = server.call_as(&token.mint()).send().await;
        assert!(reply.status == 401 || reply.json().get("error").is_some(), "names only the gateway: {reply}");
        let own = world.broker.issue_token("--user", "alice@example.com", "1h").await;
        let reply = server.call_as(&own).send().await;
        assert!(reply.status == 401 || reply.json().get("error").is_some(), "a token of ours: {reply}");
        server.upstream.assert_untouched("a token that does not name the upstream");
        for audience in [json!(server.upstream.url), json!([server.resource, server.upstream.url])] {
            let token = token.clone().claim("aud", audience).mint();
            assert_eq!(server.call_as(&token).send().await.called_as(), [format!("Bearer {token}")]);
        }
    });
}

#[test]
fn self_issued_tokens_open_the_door_for_their_user_and_their_virtual_account() {
    run(async {
        let world = World::shared().await;
        let server = world.server().subjects(&["user:carol@example.com", "virtualaccount:runtime"]).register().await;
        let carol = world.broker.issue_token("--user", "carol@example.com", "1h").await;
        let runtime = world.broker.issue_token("--virtual-account", "runtime", "1h").await;
        for token in [&carol, &runtime] {
            server.accepts_token("issued by the broker", token).await;
        }
        server.upstream.forget();
        let other = world.broker.issue_token("--virtual-account", "other", "1h").await;
        let reply = server.call_as(&other).send().await;
        assert_eq!((reply.status, reply.rpc_error().code), (200, -31002), "{reply}");
        let forged = world.issuer.token("mallory", &server).claim("iss", world.public_url.as_str()).mint();
        server.refuses_token("the broker's name, another's key", &forged).await;
        server.upstream.assert_untouched("a token of somebody else");
    });
}

/// Fifty callers, each with a token of their own.
fn callers(world: &World, server: &Server) -> Vec<String> {
    (0..50).map(|caller| world.issuer.token(&format!("caller-{caller}"), server).mint()).collect()
}

#[test]
fn fifty_callers_on_one_expired_token_make_one_token_request_in_200_rounds() {
    run(async {
        let world = World::build().concurrency(2).start().await;
        let provider = Arc::new(Provider::start().await);
        provider.access_token_life(Duration::from_secs(5));
        provider.fail(Endpoint::Token, Fault::Delay(Moment::BeforeProcess, Duration::from_millis(50)));
        // Each server has a grant of its own: the others expire while one is called.
        let mut servers = Vec::new();
        for _ in 0..50 {
            let scope = e2e::unique("scope");
            let auth = Auth::ClientCredentials { provider: provider.clone(), scope: scope.clone() };
            let server = world.server().auth(auth).register().await;
            let tokens = callers(&world, &server);
            servers.push((server, scope, tokens));
        }
        for round in 0..4 {
            for (server, scope, tokens) in &servers {
                if round > 0 {
                    until_expired(server).await;
                }
                let before = provider.issued_for(scope).len();
                let replies = join_all(tokens.iter().map(|token| async { server.call_as(token).send().await })).await;
                let issued = provider.issued_for(scope);
                assert_eq!(issued.len() - before, 1, "round {round}: token requests");
                let newest = format!("Bearer {}", issued[before]);
                let other = replies.iter().find(|reply| reply.called_as() != [newest.clone()]);
                assert!(other.is_none(), "round {round}: {newest}: {other:?}");
            }
        }
    });
}

/// Waits until a token has lived its five seconds, and so has the one that replaced it behind the callers' backs.
async fn until_expired(server: &Server) {
    eventually("the token has expired", async || {
        (server.upstream.since_first_request() > Duration::from_millis(10_500)).then_some(())
    })
    .await;
    server.upstream.forget();
}

#[test]
fn a_caller_that_gives_up_does_not_lose_the_token() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::client_credentials(&provider)).register().await;
        provider.access_token_life(Duration::from_secs(3600));
        provider.fail(Endpoint::Token, Fault::Delay(Moment::BeforeProcess, Duration::from_millis(500)));
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let impatient = spawn(async move { call.send().await });
        eventually("the provider is asked", async || (provider.token_requests().len() == 1).then_some(())).await;
        impatient.abort();
        assert!(impatient.await.is_err(), "it gave up");
        eventually("the provider has answered", async || (provider.issued().len() == 1).then_some(())).await;
        let reply = server.call_as(&world.issuer.token("bob", &server).mint()).send().await;
        assert_eq!(reply.called_as(), [format!("Bearer {}", provider.issued()[0])]);
        assert_eq!(provider.token_requests().len(), 1, "the answer that nobody waited for was lost");
    });
}

#[test]
fn a_token_is_renewed_behind_the_callers_backs_before_it_expires() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        provider.access_token_life(Duration::from_secs(4));
        let server = world.server().auth(Auth::client_credentials(&provider)).register().await;
        let token = world.issuer.token("alice", &server).mint();
        server.accepts_token("the first", &token).await;
        provider.access_token_life(Duration::from_secs(3600));
        provider.fail(Endpoint::Token, Fault::Delay(Moment::BeforeProcess, Duration::from_millis(300)));
        eventually("it is renewed", async || {
            let start = std::time::Instant::now();
            server.accepts_token("meanwhile", &token).await;
            assert!(start.elapsed() < Duration::from_millis(300), "a caller waited for the renewal");
            (provider.issued().len() == 2).then_some(())
        })
        .await;
        assert_eq!(provider.token_requests().len(), 2);
    });
}

#[test]
fn servers_of_one_provider_client_and_other_scopes_do_not_share_a_token() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let first = world.server().auth(Auth::client_credentials(&provider)).register().await;
        let second = world.server().auth(Auth::client_credentials(&provider)).register().await;
        let called = async |server: &Server| {
            server.call_as(&world.issuer.token("alice", server).mint()).send().await.called_as()
        };
        assert_ne!(called(&first).await, called(&second).await);
        assert_eq!(provider.token_requests().len(), 2);
    });
}

#[test]
fn h15_ten_thousand_interleaved_calls_with_a_key_file_never_mix_callers_or_servers() {
    run(async {
        // Every first call of a caller opens a secret: moto is not made for hundreds at once.
        let world = World::build().key_file().concurrency(2).start().await;
        let mut servers = Vec::new();
        for _ in 0..4 {
            let secret = e2e::unique("header-secret");
            let server = world.server().auth(Auth::Header { secret: secret.clone() }).register().await;
            servers.push((server, format!("Bearer {secret}")));
        }
        let passthrough = world.server().auth(Auth::Passthrough).register().await;
        let tokens: Vec<String> = (0..40)
            .map(|user| {
                let audience = json!([passthrough.resource, passthrough.upstream.url]);
                world.issuer.token(&format!("user-{user}"), &passthrough).claim("aud", audience).mint()
            })
            .collect();
        let inbound: Vec<Vec<String>> = servers.iter().map(|(server, _)| callers(&world, server)).collect();
        let mut connections = Vec::new();
        for _ in 0..8 {
            connections.push(Connection::open(world.envoy.gateway, passthrough.host()).await.expect("it listens"));
        }
        let done: Vec<bool> = stream::iter(0..10_000_usize)
            .map(|call| {
                let connection = connections[call % connections.len()].clone();
                let (path, token, expected) = match call % 3 {
                    0 => {
                        let token = tokens[(call / 3) % tokens.len()].clone();
                        (passthrough.path.clone(), token.clone(), format!("Bearer {token}"))
                    }
                    _ => {
                        let at = (call / 3) % servers.len();
                        let (server, secret) = &servers[at];
                        (server.path.clone(), inbound[at][call % inbound[at].len()].clone(), secret.clone())
                    }
                };
                async move {
                    let reply = connection.call_or_cancel(call, &path, &token).await;
                    reply.map(|reply| assert_eq!(reply.called_as(), [expected], "call {call}")).is_some()
                }
            })
            .buffer_unordered(64)
            .collect()
            .await;
        let answered = done.iter().filter(|answered| **answered).count();
        assert!(answered > 8_000, "only {answered} were not cancelled");
        for (server, secret) in &servers {
            let wrong = server
                .upstream
                .requests()
                .iter()
                .find(|request| request.all("authorization") != [secret.clone()])
                .cloned();
            assert!(wrong.is_none(), "{wrong:?}");
        }
        for request in passthrough.upstream.requests() {
            let id = request.json()["id"].as_u64().and_then(|id| usize::try_from(id).ok()).expect("our id");
            assert_eq!(request.all("authorization"), [format!("Bearer {}", tokens[(id / 3) % tokens.len()])]);
        }
    });
}

#[test]
fn an_operators_mistake_is_told_without_its_secret() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        provider.fail(Endpoint::Token, Fault::refusal(401, "invalid_client"));
        let server = world.server().auth(Auth::client_credentials(&provider)).register().await;
        let reply = server.call_as(&world.issuer.token("alice", &server).mint()).send().await;
        let error = reply.rpc_error();
        assert_eq!((reply.status, &error.id), (200, &json!(1)), "{reply}");
        assert!(matches!(error.code, -31005 | -31004), "{reply}");
        assert!(!reply.to_string().contains(&provider.client_secret), "{reply}");
        assert!(!reply.to_string().contains("/token"), "tells the address of the provider: {reply}");
        server.upstream.assert_untouched("a server without credential");
    });
}

#[test]
fn an_upstream_that_is_gone_is_told_as_such() {
    run(async {
        let world = World::shared().await;
        let upstream = Upstream::start().await;
        upstream.answer(Answer::echo);
        let url = upstream.url.clone();
        drop(upstream);
        let server = world.server().auth(Auth::header()).url(&url).register().await;
        let reply = server.call_as(&world.issuer.token("alice", &server).mint()).send().await;
        assert!(reply.status >= 500 || reply.json().get("error").is_some(), "{reply}");
        assert!(!reply.to_string().contains("header-secret"), "{reply}");
    });
}
