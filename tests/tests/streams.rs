//! Answers that go on end when their callers lose access, within two seconds, and no others do (I11).

use std::time::{Duration, Instant};

use e2e::{Answer, Call, Server, World, audit_records, eventually, run, spawn, unique};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;

/// How soon a revocation is felt.
const FELT: Duration = Duration::from_secs(2);

/// A server that streams to alice and to bob.
async fn server_of_streams(world: &World, name: &str) -> Server {
    let server = world.server().named(name, "tool").subjects(&["user:alice@example.com", "user:bob@example.com"]);
    let server = server.register().await;
    server.upstream.answer(|_| Answer::open_events(&json!({"jsonrpc": "2.0", "method": "notifications/message"})));
    server
}

/// The answer, once its first event has come.
async fn streaming(call: Call) -> Incoming {
    let mut body = call.open().await.expect("an answer").into_body();
    body.frame().await.expect("an event").expect("a whole one");
    body
}

/// Nothing more comes of it within this time, not even its end.
async fn goes_on(body: &mut Incoming) -> bool {
    tokio::time::timeout(Duration::from_millis(300), body.frame()).await.is_err()
}

async fn assert_cut_off(what: &str, body: &mut Incoming, since: Instant) {
    let left = FELT.saturating_sub(since.elapsed());
    let next = tokio::time::timeout(left, body.frame()).await;
    assert!(matches!(next, Ok(Some(Err(_)))), "{what}: {next:?} after {:?}", since.elapsed());
}

#[test]
fn i11_streams_of_a_revoked_token_are_cut_off_within_two_seconds_and_no_others() {
    run(async {
        let world = World::build().concurrency(2).start().await;
        let server = server_of_streams(&world, &unique("group")).await;
        let alice = world.broker.issue_token("--user", "alice@example.com", "1h").await;
        let others = [
            world.broker.issue_token("--user", "alice@example.com", "1h").await,
            world.broker.issue_token("--user", "bob@example.com", "1h").await,
        ];
        let mut get = streaming(server.call_as(&alice).method("GET")).await;
        let mut post = streaming(server.call_as(&alice).tool("slow")).await;
        let mut go_on = Vec::new();
        for token in others.iter().cycle().take(8) {
            go_on.push(streaming(server.call_as(token).method("GET")).await);
        }
        world.broker.revoke_token(&alice).await;
        let revoked = Instant::now();
        assert_cut_off("GET", &mut get, revoked).await;
        assert_cut_off("POST", &mut post, revoked).await;
        server.refuses_token("revoked", &alice).await;
        for body in &mut go_on {
            assert!(goes_on(body).await, "a stream of another token");
        }
        eventually("both ends are on record", async || {
            let records = audit_records(&world.broker.admin).await;
            let ends =
                |record: &&serde_json::Value| record["event"] == "call.refused" && record["reason"] == "token_refused";
            (records.iter().filter(ends).filter(|end| end["server"] == server.name.as_str()).count() == 2).then_some(())
        })
        .await;
    });
}

#[test]
fn i11_streams_of_who_loses_a_server_by_apply_are_cut_off_within_two_seconds_and_no_others() {
    run(async {
        let world = World::shared().await;
        let group = unique("group");
        let server = server_of_streams(world, &group).await;
        let other = server_of_streams(world, &unique("group")).await;
        let call = |who: &str, server: &Server| server.call_as(&world.issuer.token(who, server).mint()).method("GET");
        let mut alice = streaming(call("alice", &server)).await;
        let mut elsewhere = streaming(call("alice", &other)).await;
        let mut bob = streaming(call("bob", &server)).await;
        let without_alice = world.server().named(&group, "tool").subjects(&["user:bob@example.com"]);
        let _same = without_alice.url(&server.upstream.url).apply().await;
        assert_cut_off("alice", &mut alice, Instant::now()).await;
        assert!(goes_on(&mut bob).await && goes_on(&mut elsewhere).await);
    });
}

#[test]
fn i11_who_waits_for_an_answer_when_their_token_is_revoked_is_refused_in_its_place() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        server.upstream.answer(|request| Answer::echo(request).after(Duration::from_secs(20)));
        let token = world.broker.issue_token("--user", "alice@example.com", "1h").await;
        let call = server.call_as(&token);
        let waiting = spawn(async move { call.send().await });
        eventually("the upstream has the request", async || (server.upstream.requests().len() == 1).then_some(()))
            .await;
        world.broker.revoke_token(&token).await;
        let revoked = Instant::now();
        let reply = waiting.await.expect("an answer");
        assert_eq!((reply.status, reply.rpc_error().code, reply.rpc_error().id), (401, -31007, json!(1)), "{reply}");
        assert!(revoked.elapsed() < FELT, "after {:?}", revoked.elapsed());
    });
}
