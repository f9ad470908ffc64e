//! Failures happen at the moment they are set for, and the books are as they should be then.

use std::{process::Command, sync::Arc, time::Duration};

use e2e::{
    Answer, Child, Provider, Upstream, eventually,
    provider::{Endpoint, Fault, Moment, Outcome},
    run, spawn, unique,
};
use serde_json::json;

use crate::browser::{browser, consented, refresh, refreshing, try_ask};

#[test]
fn a_cut_before_processing_leaves_the_refresh_token_good() {
    run(async {
        let provider = Provider::start().await;
        let (_, token) = consented(&provider).await;
        provider.fail_next(Endpoint::Token, 1, &Fault::Cut(Moment::BeforeProcess));
        try_ask(&provider, &refreshing(&token)).await.unwrap_err();
        assert_eq!(provider.token_requests().pop().unwrap().outcome, Outcome::NotProcessed);
        assert_eq!(refresh(&provider, &token).await.status, 200);
        assert_eq!(provider.uses_of(&token), 2);
    });
}

#[test]
fn a_cut_after_processing_has_rotated() {
    run(async {
        let provider = Provider::start().await;
        let (_, token) = consented(&provider).await;
        provider.fail_next(Endpoint::Token, 1, &Fault::Cut(Moment::AfterProcessBeforeReply));
        try_ask(&provider, &refreshing(&token)).await.unwrap_err();
        assert!(matches!(provider.token_requests().pop().unwrap().outcome, Outcome::Issued { .. }));
        refresh(&provider, &token).await.assert_refused("invalid_grant");
    });
}

#[test]
fn a_client_that_gives_up_does_not_stop_the_provider() {
    run(async {
        let provider = Provider::start().await;
        let (_, token) = consented(&provider).await;
        provider.fail_next(Endpoint::Token, 1, &Fault::Delay(Moment::BeforeProcess, Duration::from_secs(2)));
        let form = refreshing(&token);
        let gone = tokio::time::timeout(Duration::from_secs(1), try_ask(&provider, &form)).await;
        assert!(gone.is_err(), "it answered too soon");
        eventually("it rotates all the same", async || (provider.issued().len() == 2).then_some(())).await;
    });
}

#[test]
fn a_killed_client_is_dead_before_during_or_after_as_it_is_set() {
    run(async {
        let moments = [
            (Moment::BeforeProcess, false, false),
            (Moment::AfterProcessBeforeReply, true, false),
            (Moment::AfterReply, true, true),
        ];
        for (moment, processed, replied) in moments {
            let provider = Provider::start().await;
            let (_, token) = consented(&provider).await;
            let mut victim = sleeper();
            provider.fail_next(Endpoint::Token, 1, &Fault::kill(moment, victim.pid()));
            let answer = try_ask(&provider, &refreshing(&token)).await;
            eventually("the victim is dead", async || victim.ended()).await;
            let outcome = provider.token_requests().pop().unwrap().outcome;
            assert_eq!(matches!(outcome, Outcome::Issued { .. }), processed, "{moment:?}");
            assert_eq!(answer.is_ok(), replied, "{moment:?}");
        }
    });
}

#[test]
fn a_stopped_client_is_still_answered() {
    run(async {
        let provider = Provider::start().await;
        let (_, token) = consented(&provider).await;
        let victim = sleeper();
        provider.fail_next(Endpoint::Token, 1, &Fault::Signal(Moment::BeforeProcess, victim.pid(), libc::SIGSTOP));
        refresh(&provider, &token).await.text("access_token");
        let status = format!("/proc/{}/status", victim.pid());
        let stopped = async || std::fs::read_to_string(&status).unwrap().contains("State:\tT").then_some(());
        eventually("the victim is stopped", stopped).await;
    });
}

#[test]
fn faults_strike_as_often_as_they_are_set_and_in_their_order() {
    run(async {
        let provider = Provider::start().await;
        let (_, token) = consented(&provider).await;
        provider.fail_next(Endpoint::Token, 2, &Fault::status(500));
        provider.fail_next(Endpoint::Token, 1, &Fault::busy(429, 7));
        provider.fail_next(Endpoint::Token, 1, &Fault::refusal(400, "temporarily_unavailable"));
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(refresh(&provider, &token).await.status);
        }
        assert_eq!(seen, [500, 500, 429, 400, 200]);
    });
}

#[test]
fn a_standing_fault_ends_when_it_is_healed_and_strikes_no_other_endpoint() {
    run(async {
        let provider = Provider::start().await;
        let (access, token) = consented(&provider).await;
        provider.fail(Endpoint::Token, Fault::busy(503, 9));
        let answer = browser().post(provider.token_url()).form(&refreshing(&token)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "9"));
        assert_eq!(refresh(&provider, &token).await.status, 503);
        let form = [("token", &access), ("client_id", &provider.client_id), ("client_secret", &provider.client_secret)];
        let revoked = browser().post(provider.revocation_url()).form(&form).send().await.unwrap();
        assert_eq!(revoked.status(), 200);
        provider.heal();
        assert_eq!(refresh(&provider, &token).await.status, 200);
    });
}

#[test]
fn a_hanging_provider_answers_nobody() {
    run(async {
        let provider = Arc::new(Provider::start().await);
        provider.fail(Endpoint::Token, Fault::Hang(Moment::BeforeProcess));
        let asking = provider.clone();
        let waiting = spawn(async move { try_ask(&asking, &[("grant_type", "client_credentials")]).await });
        eventually("it is asked", async || (provider.token_requests().len() == 1).then_some(())).await;
        assert!(!waiting.is_finished() && provider.issued().is_empty());
        waiting.abort();
    });
}

#[test]
fn a_shape_is_made_of_what_was_really_issued() {
    run(async {
        let provider = Provider::start().await;
        let (_, token) = consented(&provider).await;
        let nested = |good: &serde_json::Value| Answer::json(&json!({"ok": true, "authed_user": good}));
        provider.fail_next(Endpoint::Token, 1, &Fault::shape(nested));
        let answer = refresh(&provider, &token).await;
        assert!(provider.is_live(answer.body["authed_user"]["access_token"].as_str().unwrap()), "{answer:?}");
    });
}

#[test]
fn a_guarded_upstream_serves_live_tokens_and_names_their_holder() {
    run(async {
        let provider = Arc::new(Provider::start().await);
        provider.refresh_kills_access_token(true);
        let upstream = Upstream::start().await;
        upstream.guarded_by(&provider);
        let call =
            async |token: &str| browser().post(&upstream.url).bearer_auth(token).body("{}").send().await.unwrap();
        let (access, token) = consented(&provider).await;
        let answer: serde_json::Value = call(&access).await.json().await.unwrap();
        assert_eq!(answer["result"]["holder"], "alice");
        refresh(&provider, &token).await.text("access_token");
        assert_eq!(call(&access).await.status(), 401);
        assert_eq!(call("made-up").await.status(), 401);
    });
}

/// A process that does nothing for longer than any test.
fn sleeper() -> Child {
    let mut command = Command::new("sleep");
    command.arg("600");
    Child::start(command, &std::env::temp_dir().join(unique("sleeper")))
}
