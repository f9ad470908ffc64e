//! The broker believes no proxy: it verifies the caller's token itself, and speaks only to the users it was told of.

use std::{
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

use e2e::{Auth, World, acquire, admin_api, audit_records, broker_api, eventually, run};
use sallyport_proto::admin::{IssueTokenRequest, ListSecretsRequest, QueryAuditRequest};
use sallyport_proto::broker::{
    AcquireCredentialRequest, ResolveKeyRequest, WatchSnapshotRequest, acquire_credential_response::Answer,
    denied::Reason,
};
use serde_json::Value;

#[test]
fn h17_i3_the_broker_releases_nothing_for_a_token_it_does_not_accept() {
    run(async {
        let world = World::shared().await;
        let server = world.server().auth(Auth::header()).register().await;
        let other = world.server().subjects(&["user:nobody@example.com"]).auth(Auth::header()).register().await;
        let mut api = broker_api(&world.broker.grpc).await.expect("the same user may connect");
        let good = world.issuer.token("alice", &server);
        let both = good.clone().claim("aud", serde_json::json!([server.resource, other.resource])).mint();
        for (what, request, reason) in [
            ("no token", acquire(&world.broker.grpc, "", &server).await, Reason::Token),
            ("nonsense", acquire(&world.broker.grpc, "alice@example.com", &server).await, Reason::Token),
            (
                "no signature",
                acquire(&world.broker.grpc, &format!("{}.", good.unsigned()), &server).await,
                Reason::Token,
            ),
            (
                "a bent signature",
                acquire(&world.broker.grpc, &good.mint_with_signature(&[0; 256]), &server).await,
                Reason::Token,
            ),
            (
                "expired",
                acquire(&world.broker.grpc, &good.clone().expires_in(-120).mint(), &server).await,
                Reason::Token,
            ),
            (
                "for another audience",
                acquire(&world.broker.grpc, &good.clone().claim("aud", "x").mint(), &server).await,
                Reason::Token,
            ),
            ("a server of others", acquire(&world.broker.grpc, &both, &other).await, Reason::Policy),
            (
                "alg none",
                acquire(&world.broker.grpc, &format!("{}.", good.clone().header("alg", "none").unsigned()), &server)
                    .await,
                Reason::Token,
            ),
        ] {
            let answer = api.acquire_credential(request).await.map(|answer| answer.into_inner().answer);
            match answer {
                Ok(Some(Answer::Denied(denied))) => assert_eq!(denied.reason(), reason, "{what}: {}", denied.message),
                Ok(answer) => panic!("{what}: {answer:?}"),
                Err(status) => assert_eq!(status.code(), tonic::Code::PermissionDenied, "{what}: {status}"),
            }
        }
        let mut request = acquire(&world.broker.grpc, &good.mint(), &server).await;
        request.server = "no/such".to_owned();
        let answer = api.acquire_credential(request).await.expect("an answer").into_inner().answer;
        assert!(matches!(answer, Some(Answer::Denied(_))), "{answer:?}");
        let answer = api
            .acquire_credential(acquire(&world.broker.grpc, &good.mint(), &server).await)
            .await
            .expect("an answer")
            .into_inner()
            .answer;
        assert!(matches!(answer, Some(Answer::Credential(_))), "{answer:?}");
    });
}

#[test]
fn the_broker_resolves_keys_of_its_own_issuers_only() {
    run(async {
        let stranger = e2e::Issuer::start().await;
        let world = World::shared().await;
        let mut api = broker_api(&world.broker.grpc).await.expect("the same user may connect");
        for issuer in [stranger.url.as_str(), "http://169.254.169.254", "file:///etc", ""] {
            let request =
                ResolveKeyRequest { issuer: issuer.to_owned(), kid: "rsa-1".to_owned(), proxy: "intruder".to_owned() };
            let key = api.resolve_key(request).await.ok().and_then(|answer| answer.into_inner().key);
            assert!(key.is_none(), "{issuer}");
        }
        assert_eq!(stranger.fetches(), 0, "a stranger's keys were fetched");
    });
}

/// The name by which the test binary knows that it was started as somebody else.
const AS_STRANGER: &str = "SALLYPORT_E2E_SOCKET";

#[test]
fn h16_the_sockets_are_closed_to_other_users() {
    run(async {
        let world = World::start().await;
        let mode = |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        let (grpc, admin) = (&world.broker.grpc, &world.broker.admin);
        assert_eq!((mode(grpc), mode(grpc.parent().expect("a directory"))), (0o660, 0o750));
        assert_eq!((mode(admin), mode(admin.parent().expect("a directory"))), (0o600, 0o700));
    });
}

#[test]
fn h16_a_user_that_is_not_listed_is_refused_even_where_the_file_modes_let_it_in() {
    run(async {
        let world = World::build().broker(list_only_a_stranger).start_unready().await;
        let mut api = eventually("the socket", async || broker_api(&world.broker.grpc).await.ok()).await;
        assert!(api.acquire_credential(AcquireCredentialRequest::default()).await.is_err());
        assert!(api.watch_snapshot(WatchSnapshotRequest::default()).await.is_err(), "the snapshot got out");
    });
}

/// This user keeps the key and runs the proxy, and only somebody else may be a proxy.
fn list_only_a_stranger(config: &mut serde_json::Value) {
    config["mode"] = "standard".into();
    config["grpc"]["allowed_peer_uids"] = serde_json::json!([65_534]);
}

#[test]
#[ignore = "needs root, to become another user"]
fn h16_another_unix_user_is_refused_by_the_broker_itself() {
    if let Some(socket) = std::env::var_os(AS_STRANGER) {
        // Started by the test below, as another user.
        run(nothing_is_answered(std::path::Path::new(&socket)));
        return;
    }
    run(async {
        let world = World::start().await;
        let (grpc, admin) = (&world.broker.grpc, &world.broker.admin);
        // The file modes are opened up, so that only the broker's own check is left.
        for path in [world.dir(), grpc.parent().expect("a directory"), admin.parent().expect("a directory")] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        }
        let binary = world.dir().join("stranger");
        std::fs::copy(std::env::current_exe().expect("it runs"), &binary).expect("the directory is writable");
        for socket in [grpc, admin] {
            std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666)).expect("ours");
            let mut stranger = Command::new(&binary);
            stranger
                .args(["h16_another_unix_user", "--include-ignored"])
                .env(AS_STRANGER, socket)
                .uid(65_534)
                .gid(65_534)
                .current_dir("/");
            // Busy while another test's child still holds the copy it inherited open for writing.
            let output = eventually("the stranger starts", async || stranger.output().ok()).await;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", socket.display());
        }
    });
}

/// Neither API answers at this socket, and none reveals that it would.
async fn nothing_is_answered(socket: &std::path::Path) {
    if let Ok(mut api) = broker_api(socket).await {
        let refused = api.acquire_credential(AcquireCredentialRequest::default()).await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(api.watch_snapshot(WatchSnapshotRequest::default()).await.is_err(), "a stranger got the snapshot");
    }
    if let Ok(mut api) = admin_api(socket).await {
        let refused = api.list_secrets(ListSecretsRequest {}).await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(api.query_audit(QueryAuditRequest::default()).await.is_err(), "a stranger got the audit");
        assert!(api.issue_token(IssueTokenRequest::default()).await.is_err(), "a stranger got a token");
    }
}

#[test]
fn i7_every_release_and_every_use_is_on_record() {
    run(async {
        let world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let token = world.issuer.token("alice", &server).mint();
        for tool in ["first", "second", "third"] {
            assert_eq!(server.call_as(&token).tool(tool).send().await.status, 200);
        }
        let records = eventually("all uses are on record", async || {
            let records = audit_records(&world.broker.admin).await;
            let text = Value::from(records.clone()).to_string();
            ["first", "second", "third"].iter().all(|tool| text.contains(tool)).then_some(records)
        })
        .await;
        let release = records.iter().find(|record| !record["use_handle"].is_null()).expect("a release");
        let text = release.to_string();
        for part in [world.issuer.url.as_str(), "alice", &server.name, "127.0.0.1", "tools/call"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let secret = release["secrets"][0].as_str().expect("the header's secret is named");
        assert!(secret.starts_with("tfy-secret://") && secret.ends_with("#1"), "{secret}");
        let sequences: Vec<u64> = records.iter().filter_map(|record| record["sequence"].as_u64()).collect();
        assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
    });
}

#[test]
fn refusals_of_verified_callers_are_on_record() {
    run(async {
        let world = World::start().await;
        let server = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let token = world.issuer.token("mallory", &server).mint();
        assert_eq!(server.call_as(&token).tool("wanted-tool").send().await.rpc_error().code, -31002);
        eventually("the refusal is on record", async || {
            let records = audit_records(&world.broker.admin).await;
            records
                .iter()
                .any(|record| {
                    let text = record.to_string();
                    text.contains("mallory") && text.contains(&server.name) && text.contains("wanted-tool")
                })
                .then_some(())
        })
        .await;
    });
}
