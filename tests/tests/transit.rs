//! Master keys in a transit engine, by TLS, that fails on demand: what fails closed, what goes on, who is told (V4). The engine
//! is ours, by the documented API; no live one was asked.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use e2e::{Auth, Authority, Canary, Server, Transit, TransitFault, World, eventually, run};
use serde_json::{Value, json};

/// A gate whose master key is in a transit engine, and a server behind a secret.
struct Gate {
    dir: tempfile::TempDir,
    transit: Transit,
    world: World,
    server: Server,
}

impl Gate {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let transit = Transit::start(dir.path()).await;
        let change = transit.is_the_key();
        let world = World::build().broker(move |config| change(config)).start().await;
        let server = world.server().auth(Auth::header()).register().await;
        Self { dir, transit, world, server }
    }

    /// A caller who is new to the gate.
    async fn new_caller_is_served_at(&self, server: &Server) -> bool {
        let token = self.world.issuer.token(&e2e::unique("caller"), server).mint();
        server.call_as(&token).send().await.json().get("result").is_some()
    }

    /// A server whose secret nobody has opened yet.
    async fn new_server(&self) -> Server {
        self.world.server().auth(Auth::header()).register().await
    }

    async fn log_says(&self, what: &str) {
        eventually(&format!("the log says {what}"), async || self.world.broker.log().contains(what).then_some(()))
            .await;
    }
}

#[test]
fn v4_every_fault_of_a_transit_engine_is_closed_is_told_by_its_name_and_heals() {
    run(async {
        let gate = Gate::start().await;
        assert!(gate.new_caller_is_served_at(&gate.server).await);
        for (fault, said) in [
            (TransitFault::Refusal(403, "permission denied"), "denies its use"),
            (TransitFault::Refusal(429, "request path: rate limit quota exceeded"), "too many requests"),
            (TransitFault::Refusal(400, "encryption key not found"), "is disabled"),
            (TransitFault::Refusal(503, "Vault is sealed"), "Vault is sealed"),
            (TransitFault::Silent, "does not answer in time"),
            (TransitFault::WrongContext, "does not open"),
        ] {
            let server = gate.new_server().await;
            gate.transit.fails(fault);
            assert!(!gate.new_caller_is_served_at(&server).await, "{fault:?}");
            server.upstream.assert_untouched("no key");
            assert!(gate.new_caller_is_served_at(&gate.server).await, "what is open in memory is served: {fault:?}");
            gate.log_says(said).await;
            gate.transit.fails(TransitFault::None);
            assert!(gate.new_caller_is_served_at(&server).await, "after {fault:?}");
        }
        gate.log_says(&format!("transit key transit/sallyport at {}", gate.transit.address)).await;
        let token = Canary::new("the engine's token", std::fs::read_to_string(&gate.transit.token_file).unwrap());
        token.assert_absent_below(gate.world.dir());
    });
}

#[test]
fn v4_a_token_that_is_missing_is_told_before_the_start_and_while_it_runs_and_is_taken_up_when_it_is_back() {
    run(async {
        let gate = Gate::start().await;
        let away = gate.dir.path().join("away");
        let check = async || gate.world.broker.command(&["config", "check"]).await;
        check().await.ok();
        let server = gate.new_server().await;
        std::fs::rename(&gate.transit.token_file, &away).unwrap();
        let told = check().await;
        assert!(!told.success && told.stderr.contains("vault.keys.transit.token_file"), "{told:?}");
        let asked = gate.transit.requests();
        assert!(!gate.new_caller_is_served_at(&server).await);
        gate.log_says("denies its use").await;
        assert_eq!(gate.transit.requests(), asked, "nobody asks without a token");
        std::fs::rename(&away, &gate.transit.token_file).unwrap();
        check().await.ok();
        assert!(gate.new_caller_is_served_at(&server).await);
    });
}

#[test]
fn v4_no_broker_starts_on_an_engine_that_the_given_authority_does_not_vouch_for() {
    run(async {
        let gate = Gate::start().await;
        let other = gate.dir.path().join("other.pem");
        std::fs::write(&other, Authority::new().pem()).unwrap();
        let mut config: Value = serde_json::from_slice(&std::fs::read(&gate.world.broker.config).unwrap()).unwrap();
        // Beside the first, and with nothing of it.
        config["data_dir"] = json!(gate.dir.path().join("data"));
        config["grpc"]["socket"] = json!(gate.dir.path().join("run/broker.sock"));
        config["admin"]["socket"] = json!(gate.dir.path().join("admin/admin.sock"));
        config["vault"]["keys"][0]["transit"]["ca_file"] = json!(other);
        let asked = gate.transit.requests();
        let refused = gate.world.broker.serve_with(&config).await;
        assert!(!refused.success && refused.stderr.contains("transit key transit/sallyport"), "{refused:?}");
        assert!(refused.stderr.contains("certificate"), "{refused:?}");
        assert_eq!(gate.transit.requests(), asked, "it is shown no token");
    });
}
