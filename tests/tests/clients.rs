//! Agents as they are: released clients and servers, and an identity provider that others certified.

use e2e::{Auth, Client, Idp, McpServer, Server, Upstream, World, run, unique};
use serde_json::json;

/// Registers a fastmcp server.
async fn register(world: &World, real: &McpServer, auth: Auth) -> Server {
    world.server().auth(auth).url(&real.url).register().await
}

#[test]
fn every_client_lists_and_calls_tools_of_a_server_without_authentication() {
    run(async {
        let world = World::shared().await;
        let real = McpServer::start(world, &[]).await;
        let server = register(world, &real, Auth::None).await;
        let token = world.issuer.token("alice", &server).mint();
        for client in Client::ALL {
            let answer = client.call(&server.resource, &token, "echo", &json!({"text": "h\u{e9}llo"})).await;
            assert!(answer.ok && answer.result == json!("h\u{e9}llo"), "{answer:?}");
            let answer = client.call(&server.resource, &token, "-", &json!({})).await;
            assert!(answer.result.as_array().is_some_and(|tools| tools.contains(&json!("whoami"))), "{answer:?}");
        }
        let seen = real.seen().await;
        assert!(!seen.is_empty() && seen.iter().all(|request| request["credential"] == json!({})), "{seen:?}");
    });
}

#[test]
fn every_client_reaches_a_server_that_wants_a_header_of_its_own() {
    run(async {
        let world = World::shared().await;
        let secret = unique("header-secret");
        let file = world.dir().join(unique("value"));
        std::fs::write(&file, format!("Bearer {secret}")).expect("the directory is writable");
        let arguments = ["--auth", "header", "--header", "Authorization", "--value-file", &file.to_string_lossy()];
        let real = McpServer::start(world, &arguments).await;
        let server = register(world, &real, Auth::Header { secret: secret.clone() }).await;
        let token = world.issuer.token("alice", &server).mint();
        for client in Client::ALL {
            let answer = client.call(&server.resource, &token, "whoami", &json!({})).await;
            let tail = &answer.result["credential"]["authorization"]["tail"];
            assert_eq!(*tail, json!(secret[secret.len() - 6..]), "{answer:?}");
        }
        let tail = json!(token[token.len() - 6..]);
        assert!(real.seen().await.iter().all(|request| request["credential"]["authorization"]["tail"] != tail));
    });
}

#[test]
fn every_client_reaches_a_server_behind_client_credentials_of_a_real_provider() {
    run(async {
        let world = World::shared().await;
        let idp = Idp::start(world.dir()).await;
        let (client_id, client_secret) = (unique("client"), unique("client-secret"));
        idp.register(&client_id, &client_secret).await;
        let audience = format!("{}/resource", idp.issuer);
        let jwks = format!("{}/jwks", idp.issuer);
        let arguments = ["--auth", "bearer", "--issuer", &idp.issuer, "--jwks-uri", &jwks, "--audience", &audience];
        let real = McpServer::start(world, &arguments).await;
        let group = unique("secrets");
        let upstream = Upstream::start().await;
        let builder = world.server().url(&real.url).upstream(upstream);
        let reference = world.broker.set_secret(&group, "client", &client_secret, &builder.group_name()).await;
        let token_url = idp.token_endpoint.clone();
        let id = client_id.clone();
        let server = builder
            .manifest(move |integration| {
                integration["auth_data"] = json!({"type": "oauth2", "grant_type": "client_credentials",
                    "token_url": token_url, "client_id": id, "client_secret": reference, "scopes": ["mcp:tools"]});
            })
            .register()
            .await;
        let token = world.issuer.token("alice", &server).mint();
        for client in Client::ALL {
            let answer = client.call(&server.resource, &token, "whoami", &json!({})).await;
            let claims = &answer.result["credential"]["authorization"]["claims"];
            assert_eq!((&claims["iss"], &claims["client_id"]), (&json!(idp.issuer), &json!(client_id)), "{answer:?}");
        }
        assert_eq!(idp.token_requests(&client_id).await, 1);
    });
}

#[test]
fn tokens_of_a_real_identity_provider_open_the_door_in_each_algorithm() {
    run(async {
        let directory = tempfile::tempdir().expect("the temporary directory is writable");
        let idp = Idp::start(directory.path()).await;
        let issuer = json!({"issuer": idp.issuer, "login": true, "algorithms": ["RS256", "ES256", "EdDSA"],
            "email_claim": "email", "teams_claim": "teams"});
        let world = World::build()
            .broker(move |config| config["issuers"].as_array_mut().expect("a list").push(issuer))
            .start()
            .await;
        let server = world.server().subjects(&["user:alice@example.com", "team:support"]).register().await;
        for algorithm in ["RS256", "ES256", "EdDSA"] {
            server.accepts_token(algorithm, &idp.login("alice", &server.resource, algorithm).await).await;
        }
        server.accepts_token("by team", &idp.login("bob", &server.resource, "RS256").await).await;
        // Mallory claims Alice's address, which the provider has not verified.
        let mallory = idp.login("mallory", &server.resource, "RS256").await;
        let reply = server.call_as(&mallory).send().await;
        assert_eq!((reply.status, reply.rpc_error().code), (200, -31002), "{reply}");
        server.refuses_token("another audience", &idp.login("alice", "http://other.example/", "RS256").await).await;
        idp.rotate().await;
        let rotated = idp.login("alice", &server.resource, "ES256").await;
        e2e::eventually_within(std::time::Duration::from_secs(2), "the new keys are known", async || {
            (server.call_as(&rotated).send().await.status == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn every_client_shows_its_user_why_the_door_stays_shut() {
    run(async {
        let world = World::shared().await;
        let server = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let denied = world.issuer.token("alice", &server).mint();
        for client in Client::ALL {
            let answer = client.call(&server.resource, &denied, "echo", &json!({"text": "x"})).await;
            assert!(!answer.ok && answer.error["code"] == json!(-31002), "{answer:?}");
            let answer = client.call(&server.resource, "nonsense", "echo", &json!({"text": "x"})).await;
            // What the newest client shows of a 401 is the body's error.
            assert!(!answer.ok && (answer.status == Some(401) || answer.error["code"].is_i64()), "{answer:?}");
        }
        server.upstream.assert_untouched("a client that was refused");
    });
}

#[test]
fn every_client_sees_progress_of_a_long_call_as_it_happens() {
    run(async {
        let world = World::shared().await;
        let real = McpServer::start(world, &[]).await;
        let server = register(world, &real, Auth::None).await;
        let token = world.issuer.token("alice", &server).mint();
        for client in Client::ALL {
            let answer = client.call(&server.resource, &token, "count", &json!({"steps": 3, "pause": 0.05})).await;
            assert!(answer.ok && answer.result == json!(3) && answer.progress >= 3, "{answer:?}");
        }
    });
}
