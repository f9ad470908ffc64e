//! Master keys in AWS KMS (moto, behind a proxy that fails on demand): what fails closed, what goes on, who is told (V4).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use e2e::{Auth, Kms, KmsFault, Server, World, eventually, run};
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

    /// A caller for whom nothing is cached anywhere.
    async fn new_caller_is_served(&self) -> bool {
        let token = self.world.issuer.token(&e2e::unique("caller"), &self.server).mint();
        self.server.call_as(&token).send().await.json().get("result").is_some()
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
        ] {
            gate.kms.fails(fault);
            gate.server.upstream.forget();
            assert!(!gate.new_caller_is_served().await, "{fault:?}");
            gate.server.upstream.assert_untouched("no key");
            eventually(&format!("{fault:?} is told"), async || gate.world.broker.log().contains(said).then_some(()))
                .await;
            gate.kms.fails(KmsFault::None);
            assert!(gate.new_caller_is_served().await, "after {fault:?}");
        }
        assert!(gate.world.broker.log().contains(&gate.kms.key_id), "which key");
    });
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
fn v6_records_move_from_a_key_file_to_kms() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (kms, mut world) = (Kms::start(dir.path()).await, World::build().key_file().start().await);
        let server = world.server().auth(Auth::header()).register().await;
        world.broker.stop().await;
        let mut config: Value = serde_json::from_slice(&std::fs::read(&world.broker.config).unwrap()).unwrap();
        let file = config.as_object_mut().unwrap().remove("key_file").unwrap();
        config["vault"] = json!({"keys": [kms.item(), {"file": file}]});
        std::fs::write(&world.broker.config, config.to_string()).unwrap();
        world.broker.start().await;
        world.broker.command(&["key", "rewrap"]).await.ok();
        world.broker.stop().await;
        config["vault"] = json!({"keys": [kms.item()]});
        std::fs::write(&world.broker.config, config.to_string()).unwrap();
        world.broker.start().await;
        server.accepts_token("under KMS alone", &world.issuer.token("alice", &server).mint()).await;
        let refused = world.broker.command(&["key", "rotate"]).await;
        assert!(!refused.success && refused.stderr.contains("vault.keys"), "{}", refused.stderr);
    });
}
