//! Brokers on other machines: mutual TLS, a list of names, and what each name may serve (I3, H16).

use std::{net::SocketAddr, path::Path};

use e2e::{Auth, Authority, Browser, Envoy, World, eventually, free_ports, run, set_broker_over_tls};
use serde_json::json;

const BROKER: &str = "broker.example.com";

/// A gate whose broker listens on TCP as well: `spiffe://example.org/every` serves all groups, `…/pay` one of them.
struct Fleet {
    world: World,
    broker: SocketAddr,
    files: tempfile::TempDir,
    brokers: Authority,
    proxies: Authority,
}

impl Fleet {
    async fn start() -> Self {
        let (files, brokers, proxies) = (tempfile::tempdir().expect("it is made"), Authority::new(), Authority::new());
        let broker = SocketAddr::from(([127, 0, 0, 1], free_ports(1)));
        brokers.certify(BROKER).write(files.path(), "broker");
        let (file, ca) = (|name: &str| files.path().join(name), files.path().join("proxies.pem"));
        std::fs::write(&ca, proxies.pem()).expect("it is writable");
        let tls = json!({"certificate_file": file("broker.crt"), "key_file": file("broker.key"), "client_ca_file": ca});
        let world = World::build().broker(move |config| {
            config["grpc"]["listen"] = json!(broker);
            config["grpc"]["tls"] = tls;
            config["grpc"]["allowed_peers"] = json!([
                {"san": "spiffe://example.org/every"},
                {"san": "spiffe://example.org/pay", "groups": ["pay"]},
            ]);
        });
        Self { world: world.start().await, broker, files, brokers, proxies }
    }

    /// A proxy elsewhere, with a certificate for this name that `authority` gave.
    fn proxy(&self, authority: &Authority, name: &str, trusted: &Authority) -> (Envoy, tempfile::TempDir) {
        let files = tempfile::tempdir_in(self.files.path()).expect("it is made");
        authority.certify(name).write(files.path(), "proxy");
        std::fs::write(files.path().join("brokers.pem"), trusted.pem()).expect("it is writable");
        let (broker, directory) = (self.broker, files.path().to_owned());
        let envoy = self.world.second_envoy_unready(move |config| set_broker_over_tls(config, broker, &directory));
        (envoy, files)
    }
}

#[test]
fn i3_a_proxy_elsewhere_serves_the_groups_of_its_certificate_and_no_others() {
    run(async {
        let fleet = Fleet::start().await;
        let server = |group| fleet.world.server().named(group, "ledger").auth(Auth::header()).register();
        let (pay, payroll) = (server("pay").await, server("payroll").await);
        let mut proxies = Vec::new();
        for (name, serves_all) in [("spiffe://example.org/every", true), ("spiffe://example.org/pay", false)] {
            let (mut envoy, files) = fleet.proxy(&fleet.proxies, name, &fleet.brokers);
            envoy.until_ready().await;
            for (server, served) in [(&pay, true), (&payroll, serves_all)] {
                let call = server.call_as(&fleet.world.issuer.token("alice", server).mint()).at(envoy.gateway);
                server.upstream.forget();
                let reply = eventually("routes arrive", async || {
                    let reply = call.send().await;
                    (reply.status != 404 || !served).then_some(reply)
                })
                .await;
                match served {
                    true => assert!(reply.json().get("result").is_some(), "{name}: {reply}"),
                    false => assert_eq!(reply.status, 404, "{name}: {reply}"),
                }
                assert_eq!(server.upstream.requests().len(), usize::from(served), "{name}");
            }
            let dump = envoy.admin("/config_dump").await;
            assert_eq!(dump.contains("payroll"), serves_all, "{name} is told of a server it may not serve");
            proxies.push((envoy, files));
        }
    });
}

#[test]
fn people_reach_the_pages_of_a_broker_elsewhere_by_the_same_way() {
    run(async {
        let fleet = Fleet::start().await;
        let (mut envoy, _files) = fleet.proxy(&fleet.proxies, "spiffe://example.org/every", &fleet.brokers);
        envoy.until_ready().await;
        let url: url::Url = format!("http://{}/connections", envoy.gateway).parse().expect("a URL");
        let page = eventually("the page is there", async || {
            let page = Browser::of("alice").follow(Browser::of("alice").get(&url).await).await;
            (page.status == 200).then_some(page)
        })
        .await;
        assert!(page.text.contains("Sign in"), "{page:?}");
    });
}

#[test]
fn h16_a_proxy_or_a_broker_that_shows_the_wrong_certificate_gets_nothing() {
    run(async {
        let fleet = Fleet::start().await;
        let server = fleet.world.open_server().await;
        let token = fleet.world.issuer.token("alice", &server).mint();
        let (stranger, every) = (Authority::new(), "spiffe://example.org/every");
        let refused = [
            fleet.proxy(&fleet.proxies, "spiffe://example.org/other", &fleet.brokers),
            fleet.proxy(&stranger, every, &fleet.brokers),
            fleet.proxy(&fleet.proxies, every, &stranger),
        ];
        let (mut good, _files) = fleet.proxy(&fleet.proxies, every, &fleet.brokers);
        good.until_ready().await;
        for (envoy, _) in &refused {
            eventually("it was refused", async || {
                (envoy.stat("cluster.sallyport_broker.upstream_cx_total").await > 2).then_some(())
            })
            .await;
            // Without a broker it may not even listen.
            if let Ok(reply) = server.call_as(&token).at(envoy.gateway).try_send().await {
                assert!(matches!(reply.status, 404 | 503), "{reply}");
            }
            assert!(envoy.admin("/config_dump").await.find(&server.name).is_none());
        }
        server.upstream.assert_untouched("a proxy without a broker");
    });
}

#[test]
fn h16_plain_text_to_the_port_gets_nothing() {
    run(async {
        let fleet = Fleet::start().await;
        let answer = reqwest::get(format!("http://{}/", fleet.broker)).await;
        assert!(answer.is_err(), "{answer:?}");
        assert!(Path::new(&fleet.world.broker.grpc).exists());
    });
}
