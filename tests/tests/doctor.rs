//! `sallyport doctor`: what is wrong is found and has a remedy, what is right is left alone.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use e2e::{Auth, Provider, World, free_ports, run, set_plugin};
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
        Self { success: output.success, findings: told["findings"].as_array().expect("a list").clone() }
    }

    /// Fails unless there is a finding of this verdict that starts so and says so, with a remedy where one is needed.
    fn tells(&self, verdict: &str, check: &str, told: &str) {
        let fits = |finding: &&Value| {
            finding["verdict"] == verdict
                && finding["check"].as_str().expect("text").starts_with(check)
                && finding["told"].as_str().expect("text").contains(told)
        };
        let found =
            self.findings.iter().find(fits).unwrap_or_else(|| panic!("{verdict} {check} {told}: {:#?}", self.findings));
        assert_eq!(found["remedy"] == "", verdict == "good", "{found}");
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
            ("key file", "its owner's alone"),
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
fn names_what_keeps_a_broker_from_starting() {
    run(async {
        let mut world = World::start().await;
        world.broker.stop().await;
        Examined::of(&world).await.tells("bad", "broker", "no broker answers on");
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
        std::fs::write(&world.broker.config, "tenant: [").unwrap();
        Examined::of(&world).await.tells("bad", "configuration", "");
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
fn embedded_says_nothing_of_a_redis_that_nobody_has() {
    run(async {
        let world = World::build().embedded().start().await;
        let examined = Examined::of(&world).await;
        assert!(examined.findings.iter().all(|finding| finding["check"] != "redis"), "{:#?}", examined.findings);
    });
}
