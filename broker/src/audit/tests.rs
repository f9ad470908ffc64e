use std::time::Duration;

use super::*;
use crate::clock::{FixedClock, UnixTime};
use crate::fingerprints::Fingerprints;
use crate::model::{Generation, PrincipalId};
use crate::secret::Secret;
use crate::store::ReportNumber;
use crate::store::sqlite::{SqliteStore, open_in};

// 2026-11-21T22:35:06.042Z
const NOW: UnixTime = UnixTime(1_795_300_506_042);

struct World {
    _dir: tempfile::TempDir,
    store: Arc<SqliteStore>,
    audit: Audit,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open_in(dir.path()).await);
    let audit = Audit::start(store.clone(), Arc::new(FixedClock::at(NOW)), Tenant("acme".to_owned()));
    World { _dir: dir, store, audit }
}

fn alice() -> Actor {
    Actor { issuer: "https://idp".to_owned(), subject: "alice".to_owned(), client_id: Some("cursor".to_owned()) }
}

fn call(target: &str) -> Call {
    Call {
        peer: "uri:spiffe://gateway".to_owned(),
        proxy: "gateway-1".to_owned(),
        filter_version: "0.1.0".to_owned(),
        source_address: "10.0.0.7".to_owned(),
        request_id: "r-1".to_owned(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        server: "demo/echo".to_owned(),
        method: "tools/call".to_owned(),
        target: target.to_owned(),
    }
}

fn release(target: &str) -> Event {
    Event::credential_release(
        alice(),
        PrincipalId("p1".to_owned()),
        call(target),
        PolicyDecision { version: 4, rule: "team:everyone".to_owned() },
        Release {
            use_handle: "u-1".to_owned(),
            grant: Some("g-1".to_owned()),
            generation: Some(Generation(3)),
            secrets: vec!["tfy-secret://demo:g:k#3".to_owned()],
            fingerprints: vec![Fingerprints::with_key(Secret::new([7; 32])).of(b"token")],
            provider_account: Some("client-7".to_owned()),
        },
        "stored",
        Duration::from_micros(812),
    )
}

fn json(audit: &Audit, event: Event) -> serde_json::Value {
    serde_json::from_str(&audit.entry(event).json).unwrap()
}

#[tokio::test]
async fn a_release_says_who_what_when_where_and_with_which_account() {
    let world = world().await;
    let expected = serde_json::json!({
        "ts": "2026-11-21T22:35:06.042Z", "event": "credential.release", "outcome": "success", "reason": "stored",
        "actor": {"issuer": "https://idp", "subject": "alice", "client_id": "cursor"}, "on_behalf_of": "p1",
        "tenant": "acme", "source_address": "10.0.0.7", "request_id": "r-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "peer": "uri:spiffe://gateway", "proxy": "gateway-1",
        "server": "demo/echo", "method": "tools/call", "target": "search",
        "policy": {"version": 4, "rule": "team:everyone"}, "use_handle": "u-1", "grant": "g-1", "generation": 3,
        "secrets": ["tfy-secret://demo:g:k#3"], "fingerprints": ["61ce97a7f04f68afa6b25c6194ef81cb"],
        "provider_account": "client-7", "latency_us": 812, "report": null, "count": null,
        "broker_version": env!("CARGO_PKG_VERSION"), "filter_version": "0.1.0",
    });
    assert_eq!(json(&world.audit, release("search")), expected);
    let entry = world.audit.entry(release("search"));
    assert_eq!((entry.actor.as_str(), entry.server.as_str()), ("https://idp#alice", "demo/echo"));
}

#[tokio::test]
async fn every_event_has_every_field() {
    let world = world().await;
    let keys = |event: Event| json(&world.audit, event).as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let number = ReportNumber {
        peer: "uid:7".to_owned(),
        proxy: "g".to_owned(),
        worker: "0".to_owned(),
        epoch: NOW,
        sequence: 9,
    };
    let handle = Release {
        use_handle: "u".to_owned(),
        grant: None,
        generation: None,
        secrets: Vec::new(),
        fingerprints: Vec::new(),
        provider_account: None,
    };
    let (root, generation, soon) = (Actor::operator(0), Generation(1), Duration::from_millis(1));
    for event in [
        Event::credential_reject(alice(), call("t"), handle, "http_401"),
        Event::call_refused(None, call("t"), None, "policy", Some(NOW)),
        Event::call_used(None, call("t"), "u", NOW),
        Event::calls_gap(&number, 7, 8, "missing"),
        Event::manifest_apply(root.clone(), 3, &["demo".to_owned()]),
        Event::secret_set(root.clone(), "acme:g:k", generation),
        Event::token_issue(root.clone(), PrincipalId("p".to_owned()), "jti"),
        Event::token_revoke(root, "jti"),
        Event::refresh_done("g", generation, "client", soon),
        Event::refresh_failed("g", generation, "client", "http_500", soon),
    ] {
        let name = event.name;
        assert_eq!(keys(event), keys(release("t")), "{name:?}");
    }
}

#[tokio::test]
async fn what_a_proxy_reports_happened_when_it_happened() {
    let world = world().await;
    let used = json(&world.audit, Event::call_used(None, call("t"), "u-1", UnixTime(0)));
    assert_eq!((&used["ts"], &used["use_handle"]), (&"1970-01-01T00:00:00.000Z".into(), &"u-1".into()));
}

#[tokio::test]
async fn no_input_forges_a_record_or_a_line() {
    let world = world().await;
    let attacks = [
        "\n{\"event\":\"forged\"}",
        "\r\n{\"event\":\"forged\"}",
        "\",\"outcome\":\"refused\",\"x\":\"",
        "a\u{2028}b\u{2029}c\u{85}d\u{7f}e\u{202e}f\u{0}g\u{1b}[2K",
        "\\u000a\\",
    ];
    for attack in attacks {
        let mut event = release(attack);
        event.actor = Some(Actor { subject: attack.to_owned(), ..alice() });
        let line = world.audit.entry(event).json;
        assert!(!line.contains(|c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)), "{line:?}");
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["target"], attack);
        assert_eq!(record["actor"]["subject"], attack);
        assert_eq!((&record["event"], &record["outcome"]), (&"credential.release".into(), &"success".into()));
        assert!(record.get("x").is_none());
    }
}

#[tokio::test]
async fn long_names_are_cut_between_characters() {
    let world = world().await;
    let record = json(&world.audit, release(&"ä".repeat(1_000_000)));
    let kept = record["target"].as_str().unwrap();
    assert!(kept.len() <= 1024 + '…'.len_utf8() && kept.starts_with('ä') && kept.ends_with('…'));
}

#[tokio::test]
async fn i7_a_thousand_at_once_are_all_durable_and_chained() {
    let world = world().await;
    let all = (0..1000).map(|n| {
        let (audit, store) = (world.audit.clone(), world.store.clone());
        tokio::spawn(async move {
            let sequence = audit.record(release(&n.to_string())).await.unwrap();
            let stored = store.audit(sequence - 1, "", "", "", 1).await.unwrap();
            let record: serde_json::Value = serde_json::from_str(&stored[0].entry.json).unwrap();
            assert_eq!(record["target"], n.to_string(), "the answer names the record");
            sequence
        })
    });
    let mut sequences = futures::future::try_join_all(all).await.unwrap();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=1000).collect::<Vec<_>>());
    assert_eq!(verify_chain(&*world.store).await.unwrap().sequence, 1000);
}

#[tokio::test]
async fn i7_who_stops_waiting_does_not_stop_the_recording() {
    let world = world().await;
    {
        let recording = world.audit.record(release("abandoned"));
        futures::pin_mut!(recording);
        assert!(futures::poll!(recording).is_pending());
    }
    // The writer takes records in order: when this one is durable, so is the one before it.
    assert_eq!(world.audit.record(release("next")).await.unwrap(), 2);
    let first = &world.store.audit(0, "", "", "", 1).await.unwrap()[0];
    assert!(first.entry.json.contains("abandoned"));
}

#[tokio::test]
async fn i7_nothing_is_answered_when_the_store_is_full_and_it_heals() {
    let world = world().await;
    world.audit.record(release("before")).await.unwrap();
    world.store.fill().await;
    let mut refused = 0;
    // The last page may still have room.
    while refused < 3 {
        match world.audit.record(release(&"x".repeat(1000))).await {
            Ok(_) => assert_eq!(refused, 0),
            Err(AuditError::Store(error)) => {
                assert!(matches!(*error, StoreError::Unavailable(_)));
                refused += 1;
            }
            Err(AuditError::Stopped) => panic!("one failure must not end the writer"),
        }
    }
    world.store.make_room().await;
    let sequence = world.audit.record(release("after")).await.unwrap();
    assert_eq!(verify_chain(&*world.store).await.unwrap().sequence, sequence);
}

#[tokio::test]
async fn i7_nothing_is_answered_when_the_store_is_gone() {
    let world = world().await;
    world.store.close().await;
    assert!(matches!(world.audit.record(release("t")).await, Err(AuditError::Store(_))));
}

#[tokio::test]
async fn who_called_what_is_one_query_of_whole_lines() {
    let world = world().await;
    world.audit.record(release("search")).await.unwrap();
    world.audit.record(Event::token_revoke(Actor::operator(0), "jti")).await.unwrap();
    let found = world.store.audit(0, "https://idp#alice", "demo/echo", "credential.release", 10).await.unwrap();
    assert_eq!(found.len(), 1);
    let shown: serde_json::Value = serde_json::from_str(&line(&found[0])).unwrap();
    assert_eq!((&shown["sequence"], &shown["target"]), (&1.into(), &"search".into()));
    assert_eq!(shown["previous"], "0".repeat(64));
    assert_eq!(shown["hash"].as_str().unwrap().len(), 64);
}

async fn broken_by(statement: &'static str) -> ChainError {
    let world = world().await;
    for n in 0..5 {
        world.audit.record(release(&n.to_string())).await.unwrap();
    }
    verify_chain(&*world.store).await.unwrap();
    world.store.tamper(statement).await;
    match verify_chain(&*world.store).await {
        Err(VerifyError::Broken(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_edit_of_any_column_names_the_record() {
    for statement in [
        "UPDATE audit SET json = replace(json, '\"target\":\"2\"', '\"target\":\"9\"') WHERE sequence = 3",
        "UPDATE audit SET actor = 'https://idp#bob' WHERE sequence = 3",
        "UPDATE audit SET server = 'demo/other' WHERE sequence = 3",
        "UPDATE audit SET event = 'call.used' WHERE sequence = 3",
        "UPDATE audit SET at = at + 1 WHERE sequence = 3",
        "UPDATE audit SET hash = zeroblob(32) WHERE sequence = 3",
        "UPDATE audit SET event = event || 'h', actor = substr(actor, 2) WHERE sequence = 3",
    ] {
        assert_eq!(broken_by(statement).await, ChainError::Changed { sequence: 3 }, "{statement}");
    }
}

#[tokio::test]
async fn a_removal_names_what_is_missing() {
    assert_eq!(broken_by("DELETE FROM audit WHERE sequence = 3").await, ChainError::Missing { sequence: 3 });
    assert_eq!(broken_by("DELETE FROM audit WHERE sequence = 1").await, ChainError::Missing { sequence: 1 });
}

#[tokio::test]
async fn a_removal_that_is_closed_up_is_found() {
    let closed_up = "UPDATE audit SET sequence = 2, json = (SELECT json FROM audit WHERE sequence = 3),
        hash = (SELECT hash FROM audit WHERE sequence = 3), previous = (SELECT previous FROM audit WHERE sequence = 3)
        WHERE sequence = 2";
    assert_eq!(broken_by(closed_up).await, ChainError::Unlinked { sequence: 2 });
}

#[tokio::test]
async fn a_swap_names_the_first_of_the_two() {
    let swap = "UPDATE audit SET json = (SELECT json FROM audit AS other WHERE other.sequence = 6 - audit.sequence)
        WHERE sequence IN (2, 4)";
    assert_eq!(broken_by(swap).await, ChainError::Changed { sequence: 2 });
}
