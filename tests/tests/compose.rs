//! `docker-compose.yml` and what belongs to it: valid by the tool itself, and run as it is written, without an engine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "compose/machine.rs"]
mod machine;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Upstream, eventually, run};
use machine::Machine;
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The file as the tool reads it: checked against its schema, anchors resolved, paths absolute.
fn composition() -> Value {
    let output =
        Command::new("docker-compose").args(["-f", "docker-compose.yml", "config"]).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| panic!("docker-compose: {error}; run `cargo xtask build` first"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

/// Of the last stage of this name in the Dockerfile.
fn stage(target: &str) -> String {
    let dockerfile = std::fs::read_to_string(root().join("docker/Dockerfile")).unwrap();
    let stages =
        dockerfile.split("\nFROM ").filter(|stage| stage.lines().next().unwrap().ends_with(&format!(" AS {target}")));
    stages.last().unwrap_or_else(|| panic!("no stage {target}")).to_owned()
}

#[test]
fn every_service_has_what_it_names_and_a_user_and_a_health_check_of_its_own() {
    let (composition, root) = (composition(), root());
    let services = composition["services"].as_object().unwrap();
    let names: BTreeSet<_> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["broker-1", "broker-2", "envoy", "postgres", "prepare", "redis"].into());
    let mut users = BTreeSet::new();
    for (name, service) in services {
        if let Some(target) = service["build"]["target"].as_str() {
            let sources = stage(target);
            let copied = sources
                .lines()
                .filter_map(|line| line.strip_prefix("COPY "))
                .filter(|line| !line.starts_with("--from"));
            for source in copied.filter_map(|line| line.split(' ').next()) {
                assert!(root.join(source).exists(), "{name}: {source}");
            }
        }
        for mount in texts(&service["volumes"]) {
            let source = mount.split(':').next().unwrap();
            assert!(composition["volumes"].get(source).is_some() || Path::new(source).is_file(), "{name}: {mount}");
        }
        if name == "prepare" {
            // It hands files to every other user, and reaches nobody.
            assert_eq!(service["network_mode"], "none");
            continue;
        }
        let user = service["user"].as_str().unwrap_or_else(|| panic!("{name} runs as root"));
        users.insert(user.to_owned());
        assert!(service["healthcheck"]["test"].is_array(), "{name} has no health check");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
    }
    // The brokers are one part.
    assert_eq!(users.len(), 4, "{users:?}");
    let asks_by_tcp = texts(&services["postgres"]["healthcheck"]["test"]).contains(&"--host=127.0.0.1");
    assert!(asks_by_tcp, "by the socket the image's own server answers, which ends again");
    assert_eq!(composition["networks"]["stores"]["internal"], true);
    assert_eq!(services["envoy"]["networks"], json!({"brokers": null}), "Envoy reaches no store");
}

/// Envoy's configuration as its image is built with it.
fn envoy() -> Value {
    let made = Command::new(root().join("docker/envoy-config.sh")).arg(root().join("envoy/envoy.yaml")).output();
    serde_saphyr::from_str(&String::from_utf8(made.unwrap().stdout).unwrap()).unwrap()
}

#[test]
fn what_is_published_is_what_envoy_listens_on_for_agents_and_nothing_else_is() {
    let composition = composition();
    let published = composition["services"].as_object().unwrap().iter().flat_map(|(name, service)| {
        let ports = service["ports"].as_array().into_iter().flatten();
        ports.map(move |port| (name.as_str(), port["published"].to_string(), port["target"].as_u64().unwrap()))
    });
    let published: Vec<_> = published.map(|(name, to, from)| (name, to.trim_matches('"').to_owned(), from)).collect();
    let envoy = envoy();
    let gateways: Vec<_> = envoy["static_resources"]["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|listener| &listener["address"]["socket_address"])
        .filter(|address| address["address"] == "0.0.0.0")
        .map(|address| address["port_value"].as_u64().unwrap())
        .collect();
    let [gateway] = gateways[..] else { panic!("{gateways:?}") };
    assert_eq!(published, [("envoy", gateway.to_string(), gateway)]);
    assert_eq!(envoy["admin"]["address"]["socket_address"]["address"], "127.0.0.1", "asked by its health check only");
    // What people type is the port that is published, and what the broker tells them.
    let broker = std::fs::read_to_string(root().join("docker/sallyport.yaml")).unwrap();
    let broker: Value = serde_saphyr::from_str(&broker).unwrap();
    assert_eq!(broker["public_url"], format!("https://localhost:{gateway}"));
    // Envoy reaches brokers where they listen, and each broker's health is asked where it tells.
    let listens = |field: &Value| field.as_str().unwrap().rsplit(':').next().unwrap().parse::<u64>().unwrap();
    let clusters = envoy["static_resources"]["clusters"].as_array().unwrap();
    let brokers = clusters.iter().find(|cluster| cluster["name"] == "sallyport_broker").unwrap();
    let endpoints = brokers["load_assignment"]["endpoints"].as_array().unwrap().iter();
    let endpoints: Vec<_> = endpoints.flat_map(|endpoints| endpoints["lb_endpoints"].as_array().unwrap()).collect();
    let reached = endpoints.iter().map(|endpoint| &endpoint["endpoint"]["address"]["socket_address"]);
    let reached: Vec<_> =
        reached.map(|at| (at["address"].as_str().unwrap(), at["port_value"].as_u64().unwrap())).collect();
    let grpc = listens(&broker["grpc"]["listen"]);
    assert_eq!(reached, [("broker-1", grpc), ("broker-2", grpc)]);
    let asked = texts(&composition["services"]["broker-1"]["healthcheck"]["test"]).join(" ");
    assert!(asked.contains(&format!("127.0.0.1:{}/readyz", listens(&broker["http"]["listen"]))), "{asked}");
}

#[test]
fn each_part_runs_as_the_user_its_image_is_made_for_and_its_files_are_given_to() {
    let composition = composition();
    let prepare = std::fs::read_to_string(root().join("docker/prepare.sh")).unwrap();
    for (service, target, files) in [
        ("broker-1", Some("broker"), "broker/"),
        ("broker-2", Some("broker"), "broker/"),
        ("envoy", Some("envoy"), "envoy/"),
        ("postgres", None, "postgres/"),
        ("redis", None, "redis/"),
    ] {
        let service_of = &composition["services"][service];
        let user = service_of["user"].as_str().unwrap();
        let (uid, gid) = user.split_once(':').unwrap();
        assert_eq!(uid, gid, "{service}");
        assert_ne!(uid, "0", "{service}");
        if let Some(target) = target {
            let stage = stage(target);
            assert_eq!(stage.lines().filter_map(|line| line.strip_prefix("USER ")).collect::<Vec<_>>(), [user]);
            // Every number that the stage gives files or accounts to is that user's.
            for flag in ["--uid ", "--gid ", "-o ", "-g "] {
                let given = stage.split(flag).skip(1).map(|rest| rest.split_whitespace().next().unwrap());
                assert!(given.clone().all(|number| number == uid), "{service}: {flag}{:?}", given.collect::<Vec<_>>());
            }
        }
        for tmpfs in texts(&service_of["tmpfs"]) {
            assert!(tmpfs.contains(&format!("uid={uid},gid={gid},mode=0700")), "{service}: {tmpfs}");
        }
        let given: Vec<_> = prepare
            .lines()
            .filter_map(|line| line.trim().strip_prefix("place "))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|place| place[2].starts_with(files))
            .collect();
        assert!(!given.is_empty() && given.iter().all(|place| place[0] == uid), "{service}: {given:?}");
    }
}

#[test]
fn the_filter_is_built_with_the_flags_of_the_set_up() {
    let set_up = std::fs::read_to_string(root().join("xtask/src/setup/wasm.rs")).unwrap();
    let flags = "-C target-feature=+simd128";
    assert!(set_up.contains(&format!("Source::Rustup => \"{flags}\"")) && stage("build").contains(flags));
    let version = std::fs::read_to_string(root().join("envoy/.envoy-version")).unwrap();
    assert!(stage("envoy").starts_with(&format!("envoyproxy/envoy:v{} ", version.trim())), "{}", stage("envoy"));
}

#[test]
#[ignore = "needs root, to give each part's files to its user"]
fn renewed_certificates_take_every_password_with_them() {
    let machine = Machine::new(&composition());
    machine.prepare();
    let kept = [("postgres-files", "password"), ("redis-files", "users.acl")];
    let changed = [
        ("postgres-files", "server.crt"),
        ("redis-files", "ca.pem"),
        ("broker-files", "broker.crt"),
        ("broker-files", "proxies.pem"),
        ("envoy-files", "mtls/proxy.crt"),
        ("envoy-files", "tls.crt"),
    ];
    let read = |files: &[(&str, &str)]| -> Vec<_> {
        files.iter().map(|(volume, file)| machine.prepared(volume, file)).collect()
    };
    let (passwords, certificates) = (read(&kept), read(&changed));
    machine.prepare();
    assert_eq!(read(&changed), certificates, "a start makes nothing anew");
    machine.renew();
    assert_eq!(read(&kept), passwords);
    assert!(read(&changed).iter().zip(&certificates).all(|(new, old)| new != old));
    assert!(machine.prepared("broker-files", "redis-url").starts_with("rediss://sallyport:"));
}

#[test]
#[ignore = "needs root, to run every part as a user of its own"]
fn the_fleet_serves_as_it_is_composed_and_goes_on_when_one_broker_ends() {
    run(async {
        let (upstream, mut machine) = (Upstream::start().await, Machine::new(&composition()));
        machine.prepare();
        // What depends on nothing of its row is composed at once.
        for row in [["postgres", "redis"].as_slice(), &["broker-1", "broker-2"], &["envoy"]] {
            row.iter().for_each(|service| machine.start(service));
            for service in row {
                eventually(&format!("{service} is healthy"), async || machine.is_healthy(service).then_some(())).await;
            }
        }
        let manifest = json!({
            "type": "provider-account/mcp-server-group", "name": "tools",
            "integrations": [{
                "type": "integration/mcp-server/remote", "name": "search", "url": upstream.url,
                "transport": "streamable-http", "authorized_subjects": ["user:alice@example.com"],
            }],
        });
        let file = machine.file("tools.yaml", &manifest.to_string());
        machine.sallyport("broker-1", &["apply", "-f", &file.display().to_string()]);
        let issue = ["token", "issue", "--user", "alice@example.com", "--ttl", "8h"];
        // The other broker knows the server, and its token is as good.
        let issued = machine.sallyport("broker-2", &issue);
        let token = issued.split_whitespace().find(|word| word.starts_with("ey")).expect("a token").to_owned();
        let is_answered = |machine: &Machine| machine.call(&token).contains(r#""result""#).then_some(());
        eventually("both brokers are there", async || is_answered(&machine)).await;
        machine.terminate("broker-1");
        eventually("one has ended", async || machine.has_ended("broker-1").then_some(())).await;
        eventually("the other is left", async || is_answered(&machine)).await;
        assert!(machine.call(&format!("{token}x")).contains("-31007"));
    });
}
