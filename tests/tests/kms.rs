//! Master keys in AWS KMS (moto, behind a proxy that fails on demand): what fails closed, what goes on, who is told (V4).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use e2e::{Auth, Browser, Kms, KmsFault, Levels, Provider, Server, World, acquire, broker_api, eventually, run};
use sallyport_proto::broker::acquire_credential_response::Answer;
use serde_json::{Value, json};

/// A gate whose master key is in KMS, and a server behind a secret.
struct Gate {
    _dir: tempfile::TempDir,
    kms: Kms,
    world: World,
    server: Server,
}

impl Gate {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kms = Kms::start(dir.path()).await;
        let world = World::with_kms(&kms).await;
        let server = world.server().auth(Auth::header()).register().await;
        Self { _dir: dir, kms, world, server }
    }

    /// A caller who is new to the gate, at a server whose secret may be open in memory.
    async fn new_caller_is_served(&self) -> bool {
        self.new_caller_is_served_at(&self.server).await
    }

    async fn new_caller_is_served_at(&self, server: &Server) -> bool {
        let token = self.world.issuer.token(&e2e::unique("caller"), server).mint();
        server.call_as(&token).send().await.json().get("result").is_some()
    }

    /// A server whose secret nobody has opened yet.
    async fn new_server(&self) -> Server {
        self.world.server().auth(Auth::header()).register().await
    }
}

#[test]
fn v4_every_fault_of_the_key_service_is_closed_is_told_by_its_name_and_heals() {
    run(async {
        let gate = Gate::start().await;
        assert!(gate.new_caller_is_served().await);
        for (fault, said) in [
            (KmsFault::Error("AccessDeniedException"), "denies its use"),
            (KmsFault::Error("ThrottlingException"), "too many requests"),
            (KmsFault::Error("DisabledException"), "is disabled"),
            (KmsFault::Error("KMSInvalidStateException"), "about to be deleted"),
            (KmsFault::Silent, "does not answer in time"),
            (KmsFault::Error("KMSInternalException"), "the key service failed"),
            (KmsFault::WrongContext, "does not open"),
            (KmsFault::AnotherKey, "it answered for another key"),
        ] {
            let server = gate.new_server().await;
            gate.kms.fails(fault);
            assert!(!gate.new_caller_is_served_at(&server).await, "{fault:?}");
            server.upstream.assert_untouched("no key");
            assert!(gate.new_caller_is_served().await, "what is open in memory is served: {fault:?}");
            eventually(&format!("{fault:?} is told"), async || gate.world.broker.log().contains(said).then_some(()))
                .await;
            gate.kms.fails(KmsFault::None);
            assert!(gate.new_caller_is_served_at(&server).await, "after {fault:?}");
        }
        assert!(gate.world.broker.log().contains(&gate.kms.key_id), "which key");
    });
}

#[test]
fn v4_a_secret_is_opened_by_the_key_service_once_for_many_callers_and_anew_when_its_age_is_over() {
    run(async {
        let mut gate = Gate::start().await;
        gate.world.broker.stop().await;
        gate.world.broker.start_forgetting(Duration::from_secs(2)).await;
        let decrypts = |gate: &Gate| gate.kms.requests().iter().filter(|(operation, _)| operation == "Decrypt").count();
        let before = decrypts(&gate);
        for _ in 0..5 {
            assert!(gate.new_caller_is_served().await);
        }
        assert_eq!(decrypts(&gate), before + 1, "one for five callers");
        gate.kms.fails(KmsFault::Silent);
        eventually("it is not open any more", async || (!gate.new_caller_is_served().await).then_some(())).await;
        gate.kms.fails(KmsFault::None);
        assert!(gate.new_caller_is_served().await);
    });
}

#[test]
fn v4_a_token_is_opened_by_the_key_service_once_for_fifty_callers_who_come_at_once() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let kms = Kms::start(dir.path()).await;
        let change = kms.is_the_key();
        let mut world = World::build().sign_in().broker(move |config| change(config)).start().await;
        let (_provider, server) = connected(&world, 3600).await;
        world.broker.stop().await;
        world.broker.start().await;
        let request = acquire(&world.broker.grpc, &world.issuer.token("alice", &server).mint(), &server).await;
        let api = broker_api(&world.broker.grpc).await.unwrap();
        let decrypts = || kms.requests().iter().filter(|(operation, _)| operation == "Decrypt").count();
        let before = decrypts();
        let calls = (0..50).map(|_| {
            let (mut api, request) = (api.clone(), request.clone());
            async move { api.acquire_credential(request).await.unwrap().into_inner().answer.unwrap() }
        });
        let answers = futures::future::join_all(calls).await;
        assert!(answers.iter().all(|answer| matches!(answer, Answer::Credential(_))), "{answers:?}");
        assert_eq!(decrypts(), before + 1);
    });
}

#[test]
fn v4_while_the_key_service_is_down_open_tokens_serve_and_no_refresh_begins() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let kms = Kms::start(dir.path()).await;
        let change = kms.is_the_key();
        let world = World::build().sign_in().broker(move |config| change(config)).start().await;
        let long = connected(&world, 3600).await;
        let brief = connected(&world, 1).await;
        let broker = &world.broker.grpc;
        let ask = async |server: &Server| {
            let token = world.issuer.token("alice", server).mint();
            let request = acquire(broker, &token, server).await;
            broker_api(broker).await.unwrap().acquire_credential(request).await.unwrap().into_inner().answer.unwrap()
        };
        assert!(matches!(ask(&long.1).await, Answer::Credential(_)));
        let first = brief.0.issued()[0].clone();
        eventually("the brief one is over", async || (!brief.0.is_live(&first)).then_some(())).await;
        for (fault, said) in
            [(KmsFault::Silent, "in time"), (KmsFault::Error("AccessDeniedException"), "denies its use")]
        {
            kms.fails(fault);
            assert!(matches!(ask(&long.1).await, Answer::Credential(_)), "open in memory: {fault:?}");
            let Answer::Unavailable(unavailable) = ask(&brief.1).await else { panic!("{fault:?}") };
            assert!(!unavailable.message.is_empty() && !unavailable.message.contains(&kms.key_id), "{unavailable:?}");
            eventually(&format!("{fault:?} is told"), async || world.broker.log().contains(said).then_some(())).await;
        }
        assert_eq!(brief.0.token_requests_by("refresh_token").len(), 0, "no refresh begins without a data key");
        assert!(world.broker.log().contains(&kms.key_id), "which key");
        kms.fails(KmsFault::None);
        eventually("it is renewed", async || matches!(ask(&brief.1).await, Answer::Credential(_)).then_some(())).await;
        assert_eq!(brief.0.token_requests_by("refresh_token").len(), 1);
    });
}

/// A provider, and a server that alice has consented to: her first token lives so many seconds.
async fn connected(world: &World, life: u64) -> (Arc<Provider>, Server) {
    let provider = Arc::new(Provider::start().await);
    let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
    server.upstream.guarded_by(&provider);
    provider.access_token_life(Duration::from_secs(life));
    world.consent(&Browser::of("alice"), &server).await;
    provider.access_token_life(Duration::from_secs(3600));
    (provider, server)
}

#[test]
fn v4_a_throttled_request_is_asked_again_until_it_is_answered() {
    run(async {
        let gate = Gate::start().await;
        gate.kms.fails(KmsFault::ErrorTimes("ThrottlingException", 2));
        assert!(gate.new_caller_is_served().await);
    });
}

#[test]
fn v4_the_context_names_nobody_and_the_key_is_named_in_every_request() {
    run(async {
        let gate = Gate::start().await;
        assert!(gate.new_caller_is_served().await);
        let requests = gate.kms.requests();
        assert!(requests.iter().any(|(operation, _)| operation == "GenerateDataKey"));
        assert!(requests.iter().any(|(operation, _)| operation == "Decrypt"));
        for (operation, asked) in requests {
            assert_eq!(asked["KeyId"], gate.kms.key_id.as_str(), "{operation}");
            let context = asked["EncryptionContext"].as_object().unwrap();
            let names: Vec<_> = context.keys().map(String::as_str).collect();
            assert_eq!(names, ["sallyport:kind", "sallyport:record", "sallyport:tenant"], "{operation}");
            let record = context["sallyport:record"].as_str().unwrap();
            assert!(record.len() == 64 && record.bytes().all(|byte| byte.is_ascii_hexdigit()), "{record}");
        }
    });
}

#[test]
fn v6_i9_records_move_from_a_key_file_to_kms_and_the_finest_log_has_no_data_key() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let kms = Kms::start(dir.path()).await;
        let mut world = World::build().key_file().trace(Levels::Usual).start().await;
        let server = world.server().auth(Auth::header()).register().await;
        world.broker.stop().await;
        let mut config: Value = serde_json::from_slice(&std::fs::read(&world.broker.config).unwrap()).unwrap();
        let file = config.as_object_mut().unwrap().remove("key_file").unwrap();
        config["vault"] = json!({"keys": [kms.item(), {"file": file}]});
        std::fs::write(&world.broker.config, config.to_string()).unwrap();
        world.broker.start().await;
        world.broker.command(&["key", "rewrap"]).await.ok();
        world.broker.stop().await;
        let log = world.broker.log();
        kms.assert_nothing_in("the log", log.as_bytes());
        // Whatever a library would print of its requests, in this version of it or the next.
        for line in log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let (level, target) = (line["level"].as_str().unwrap(), line["target"].as_str().unwrap());
            assert!(target.starts_with("sallyport") || !["DEBUG", "TRACE"].contains(&level), "{line}");
        }
        config["vault"] = json!({"keys": [kms.item()]});
        std::fs::write(&world.broker.config, config.to_string()).unwrap();
        world.broker.start().await;
        server.accepts_token("under KMS alone", &world.issuer.token("alice", &server).mint()).await;
        let refused = world.broker.command(&["key", "rotate"]).await;
        assert!(!refused.success && refused.stderr.contains("vault.keys"), "{}", refused.stderr);
    });
}

#[test]
fn v4_v6_while_kms_is_away_what_a_key_file_has_wrapped_moves_and_the_command_names_what_does_not() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let kms = Kms::start(dir.path()).await;
        let mut world = World::build().key_file().start().await;
        let under_the_file = world.server().auth(Auth::header()).register().await;
        let mut config: Value = serde_json::from_slice(&std::fs::read(&world.broker.config).unwrap()).unwrap();
        let old = json!({"file": config.as_object_mut().unwrap().remove("key_file").unwrap()});
        let new = dir.path().join("new.key");
        let mut key = [0; 32];
        getrandom::fill(&mut key).unwrap();
        std::fs::write(&new, key).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut under_kms = None;
        for keys in [json!([kms.item(), old]), json!([{"file": new}, kms.item(), old])] {
            world.broker.stop().await;
            config["vault"]["keys"] = keys;
            std::fs::write(&world.broker.config, config.to_string()).unwrap();
            world.broker.start().await;
            if under_kms.is_none() {
                under_kms = Some(world.server().auth(Auth::header()).register().await);
            }
        }
        kms.fails(KmsFault::Error("DisabledException"));
        let rewrapped = world.broker.command(&["key", "rewrap"]).await;
        let told = format!("{}{}", rewrapped.stdout, rewrapped.stderr);
        assert!(!rewrapped.success && told.contains(&kms.key_id) && told.contains("is disabled"), "{told}");
        assert!(told.contains("stay under master key") && told.contains("run `sallyport key rewrap` again"), "{told}");
        let needs = async || {
            let listed = world.broker.command(&["key", "list", "--json"]).await.ok();
            let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
            listed.iter().map(|key| (key["kept"].to_string(), key["fields"].as_u64().unwrap())).collect::<Vec<_>>()
        };
        let listed = needs().await;
        assert!(
            listed.iter().all(|(kept, fields)| kept.contains("KMS") == (*fields == 1) || kept.contains("new.key")),
            "{listed:?}"
        );
        kms.fails(KmsFault::None);
        world.broker.command(&["key", "rewrap"]).await.ok();
        let listed = needs().await;
        assert!(listed.iter().all(|(kept, fields)| kept.contains("new.key") != (*fields == 0)), "{listed:?}");
        for server in [under_the_file, under_kms.unwrap()] {
            server.accepts_token("under the new key", &world.issuer.token("alice", &server).mint()).await;
        }
    });
}
