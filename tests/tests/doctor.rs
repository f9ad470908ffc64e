//! `sallyport doctor`: what is wrong is found and has a remedy, what is right is left alone.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use e2e::{Auth, Kms, KmsFault, Provider, World, free_ports, run, set_plugin};
use postgres_counterpart::Server as Postgres;
use serde_json::{Value, json};

/// What was found, by verdict.
struct Examined {
    success: bool,
    findings: Vec<Value>,
}

impl Examined {
    async fn of(world: &World) -> Self {
        let output = world.broker.command(&["doctor", "--json"]).await;
        let told: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let findings = told["findings"].as_array().expect("a list").clone();
        for finding in &findings {
            assert_eq!(
                finding["remedy"] == "",
                finding["verdict"] == "good",
                "what is not good has a remedy: {finding}"
            );
        }
        Self { success: output.success, findings }
    }

    /// Fails unless there is a finding of this verdict that starts so and says so.
    fn tells(&self, verdict: &str, check: &str, told: &str) {
        let fits = |finding: &&Value| {
            finding["verdict"] == verdict
                && finding["check"].as_str().expect("text").starts_with(check)
                && finding["told"].as_str().expect("text").contains(told)
        };
        assert!(self.findings.iter().any(|finding| fits(&finding)), "{verdict} {check} {told}: {:#?}", self.findings);
    }

    fn bad(&self) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["verdict"] == "bad").collect()
    }
}

#[test]
fn finds_nothing_bad_where_all_is_well_and_looks_at_everything() {
    run(async {
        let world = World::start().await;
        let provider = Arc::new(Provider::start().await);
        world.server().auth(Auth::authorization_code(&provider)).register().await;
        let examined = Examined::of(&world).await;
        assert!(examined.success && examined.bad().is_empty(), "{:#?}", examined.findings);
        for (check, told) in [
            ("configuration", "is good"),
            ("data_dir", "MiB of free space"),
            ("socket for proxies", "0750"),
            ("socket for operators", "0700"),
            ("broker", "it runs"),
            ("store", "commits in"),
            ("master key", "wraps and unwraps"),
            ("issuer", "answers in"),
            ("provider of", "answers in"),
            ("clock", "within 10 s"),
            ("gateway", "is ready"),
            ("gateway", "refuses who shows no token"),
            ("gateway", "verifies tokens and reads bodies"),
        ] {
            examined.tells("good", check, told);
        }
        let tokens = world.broker.command(&["token", "list", "--json"]).await.ok();
        let tokens: Value = serde_json::from_str(&tokens).expect("JSON");
        let left = tokens.as_array().expect("a list").iter().filter(|token| token["revoked"] == json!(false)).count();
        assert_eq!(left, 0, "its token is revoked again: {tokens}");
    });
}

#[test]
fn names_what_is_wrong_while_the_broker_runs() {
    run(async {
        let mut world = World::start().await;
        let nobody = format!("http://127.0.0.1:{}/token", free_ports(1));
        let server = world.server().auth(Auth::client_credentials(&Arc::new(Provider::start().await)));
        server.manifest(move |server| server["auth_data"]["token_url"] = nobody.into()).register().await;
        world.envoy.kill();
        std::fs::set_permissions(&world.broker.data, std::fs::Permissions::from_mode(0o755)).unwrap();
        let examined = Examined::of(&world).await;
        assert!(!examined.success);
        examined.tells("bad", "data_dir", "has mode 0755");
        examined.tells("bad", "provider of", "was not reached: there is no connection");
        examined.tells("warning", "gateway", "was not reached from here");
    });
}

#[test]
fn h4_names_an_envoy_that_shows_the_filter_no_body() {
    run(async {
        let blind = |config: &mut Value| set_plugin(config, "allow_on_headers_stop_iteration", json!(false));
        let world = World::build().envoy(blind).start().await;
        world.open_server().await;
        let examined = Examined::of(&world).await;
        assert!(!examined.success);
        examined.tells("bad", "gateway", "Envoy shows the filter no body");
    });
}

#[test]
fn names_a_broker_that_does_not_run_and_a_configuration_that_keeps_it_from_starting() {
    run(async {
        let mut world = World::start().await;
        world.broker.stop().await;
        let examined = Examined::of(&world).await;
        examined.tells("bad", "broker", "no broker answers on");
        assert_eq!(examined.bad().len(), 1, "all else is well: {:#?}", examined.findings);
        std::fs::write(&world.broker.config, "tenant: [").unwrap();
        Examined::of(&world).await.tells("bad", "configuration", "");
    });
}

#[test]
fn embedded_names_what_keeps_a_broker_from_starting() {
    run(async {
        let mut world = World::build().embedded().start().await;
        Examined::of(&world).await.tells("good", "key file", "its owner's alone");
        world.broker.stop().await;
        Examined::of(&world).await.tells("good", "store", "is whole");
        let key = world.dir().join("key/master.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        Examined::of(&world).await.tells("bad", "key file", "0644");
        std::fs::remove_file(&key).unwrap();
        Examined::of(&world).await.tells("bad", "key file", "does not exist");
        let database = world.broker.data.join("sallyport.db");
        let length = std::fs::metadata(&database).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&database).unwrap().set_len(length / 2).unwrap();
        Examined::of(&world).await.tells("bad", "store", "SQLite");
    });
}

#[test]
fn l6_tells_where_postgres_does_not_answer_whether_or_not_a_broker_runs() {
    run(async {
        let postgres: &Postgres = Box::leak(Box::new(Postgres::start()));
        let mut world = World::build().brokers(1).postgres(postgres).start().await;
        world.open_server().await;
        let config: Value = serde_json::from_slice(&std::fs::read(&world.broker.config).unwrap()).unwrap();
        let url = url::Url::parse(config["store"]["postgres"]["url"].as_str().unwrap()).unwrap();
        let (database, (_, directory)) = (url.path().trim_start_matches('/'), url.query_pairs().next().unwrap());
        let at = format!("Postgres database {database} at {directory}, port {}", url.port().unwrap());
        for is_running in [true, false] {
            if !is_running {
                world.broker.stop().await;
            }
            let examined = Examined::of(&world).await;
            examined.tells("good", "store", &at);
            assert_eq!(examined.success, is_running);
        }
        world.broker.start().await;
        postgres.kill();
        for (is_running, told) in [(true, "does not answer"), (false, "cannot be reached")] {
            if !is_running {
                world.broker.kill();
            }
            let examined = Examined::of(&world).await;
            assert!(!examined.success);
            examined.tells("bad", "store", told);
            examined.tells("bad", "store", &at);
        }
    });
}

#[test]
fn v4_names_a_master_key_whose_service_denies_it_is_silent_or_is_away() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let kms = Kms::start(dir.path()).await;
        let world = World::with_kms(&kms).await;
        Examined::of(&world).await.tells("good", "master key", "wraps and unwraps");
        for (fault, told) in [
            (KmsFault::Error("AccessDeniedException"), "denies its use"),
            (KmsFault::Error("DisabledException"), "is disabled"),
            (KmsFault::Silent, "does not answer in time"),
        ] {
            kms.fails(fault);
            let examined = Examined::of(&world).await;
            assert!(!examined.success, "{fault:?}");
            examined.tells("bad", "master key", told);
            examined.tells("bad", "master key", &kms.key_id);
        }
        kms.fails(KmsFault::None);
        assert!(Examined::of(&world).await.success, "it heals");
        let key_id = kms.key_id.clone();
        drop(kms);
        let examined = Examined::of(&world).await;
        examined.tells("bad", "master key", "cannot be reached");
        examined.tells("bad", "master key", &key_id);
    });
}

#[test]
fn l5_tells_where_redis_is_whether_it_is_of_use_and_what_works_without_it() {
    run(async {
        let mut world = World::build().brokers(1).start().await;
        let redis = world.redis.take().expect("brokers over Postgres have one");
        let at = format!("Redis at 127.0.0.1:{}", redis.port());
        Examined::of(&world).await.tells("good", "redis", "lends and takes back a lease");
        drop(redis);
        let without = format!("{at} is of no use now: ");
        for is_running in [true, false] {
            let examined = Examined::of(&world).await;
            examined.tells("warning", "redis", &without);
            examined.tells("warning", "redis", "Everything works: brokers find by the store within two seconds");
            assert_eq!(examined.success, is_running, "nobody is refused for it: {:#?}", examined.bad());
            world.broker.stop().await;
        }
    });
}

#[test]
fn l10_tells_a_wrong_clock_of_the_machine_from_the_databases() {
    run(async {
        let mut world = World::build().brokers(1).start().await;
        let _server = world.server().auth(Auth::header()).register().await;
        world.broker.stop().await;
        world.broker.start_with_clock_off(6 * 60 * 1000).await;
        let examined = Examined::of(&world).await;
        examined.tells("bad", "clock", "this machine's clock is 3");
        examined.tells("good", "database's clock", "within 10 s");
        examined.tells("good", "spool", "nothing waits");
    });
}

#[test]
fn embedded_says_nothing_of_a_redis_that_nobody_has() {
    run(async {
        let world = World::build().embedded().start().await;
        let examined = Examined::of(&world).await;
        assert!(examined.findings.iter().all(|finding| finding["check"] != "redis"), "{:#?}", examined.findings);
    });
}
