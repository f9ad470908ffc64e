mod ends;

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, ServerName as TlsName};
use rustls::{ClientConfig, RootCertStore};
use sallyport_proto::broker::acquire_credential_response::Answer;
use sallyport_proto::broker::broker_client::BrokerClient;
use sallyport_proto::broker::{WatchSnapshotRequest, denied, update};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

use super::*;
use crate::grpc::router;
use crate::service::tests::Fixture;

const ENVOY: &str = "spiffe://example.org/ns/gateway/sa/envoy";

/// An authority, of which there may be several.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, sans: Vec<SanType>, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn put(dir: &Path, pair: &Pair) {
    std::fs::write(dir.join("broker.crt"), &pair.certificate).unwrap();
    std::fs::write(dir.join("broker.key"), &pair.key).unwrap();
}

/// A broker that listens for ENVOY, which serves everything, and `edge.example`, which serves one group.
struct Served {
    fixture: Fixture,
    address: SocketAddr,
    brokers: Authority,
    proxies: Authority,
    dir: tempfile::TempDir,
}

async fn serve() -> Served {
    let (dir, brokers, proxies) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    put(dir.path(), &brokers.issue(vec![dns("broker.example")], |_| {}));
    std::fs::write(dir.path().join("proxies.pem"), &proxies.pem).unwrap();
    let only = Scope::Groups(["other".to_owned()].into());
    let config = PeerTls {
        listen: ([127, 0, 0, 1], 0).into(),
        certificate_file: dir.path().join("broker.crt"),
        key_file: dir.path().join("broker.key"),
        client_ca_file: dir.path().join("proxies.pem"),
        peers: vec![(San::Uri(ENVOY.into()), Scope::Every), (San::Dns("edge.example".into()), only)],
    };
    let listener = TlsListener::bind(&config).await.unwrap();
    let (fixture, address) = (Fixture::new().await, listener.tcp.local_addr().unwrap());
    let ads = crate::grpc::tests::no_resources();
    let router = router(fixture.service.clone(), ads, axum::Router::new(), CancellationToken::new());
    tokio::spawn(router.serve_with_incoming(listener.incoming()));
    Served { fixture, address, brokers, proxies, dir }
}

impl Served {
    /// TLS as a client with this pair, or without any.
    async fn connect(&self, pair: Option<&Pair>) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(pem(&self.brokers.pem)).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = match pair {
            Some(pair) => {
                let key = rustls::pki_types::pem::PemObject::from_pem_slice(pair.key.as_bytes());
                let key: PrivateKeyDer<'static> = key.unwrap();
                config.with_client_auth_cert(vec![pem(&pair.certificate)], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(TlsName::try_from("broker.example").unwrap(), stream).await
    }

    async fn client(&self, pair: &Pair) -> BrokerClient<Channel> {
        let mut stream = Some(hyper_util::rt::TokioIo::new(self.connect(Some(pair)).await.unwrap()));
        let connect = tower::service_fn(move |_: Uri| {
            std::future::ready(stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        });
        BrokerClient::new(Endpoint::from_static("http://broker").connect_with_connector(connect).await.unwrap())
    }

    /// Whether the broker answers a first byte of HTTP/2 with anything at all.
    async fn hears(&self, pair: Option<&Pair>) -> bool {
        let Ok(mut stream) = self.connect(pair).await else { return false };
        let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        matches!(stream.read(&mut [0; 1]).await, Ok(1))
    }
}

fn pem(text: &str) -> rustls::pki_types::CertificateDer<'static> {
    rustls::pki_types::pem::PemObject::from_pem_slice(text.as_bytes()).unwrap()
}

#[tokio::test]
async fn h16_only_a_listed_name_under_the_right_authority_is_heard() {
    let served = serve().await;
    let names = |name: &str| served.proxies.issue(vec![dns("unlisted.example"), uri(name)], |_| {});
    assert!(served.hears(Some(&names(ENVOY))).await);
    let capital = served.proxies.issue(vec![dns("EDGE.example")], |_| {});
    assert!(served.hears(Some(&capital)).await, "host names have no case");
    assert!(!served.hears(None).await, "no certificate");
    for other in [format!("{ENVOY}/x"), ENVOY.to_uppercase(), format!("{ENVOY}."), "edge.example".into()] {
        assert!(!served.hears(Some(&names(&other))).await, "{other}");
    }
    let common_name = |params: &mut CertificateParams| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "edge.example");
    };
    let refused = [
        ("a name below a listed one", served.proxies.issue(vec![dns("a.edge.example")], |_| {})),
        ("a pattern that covers it", served.proxies.issue(vec![dns("*.example")], |_| {})),
        ("a common name", served.proxies.issue(Vec::new(), common_name)),
        ("another authority", Authority::new().issue(vec![uri(ENVOY)], |_| {})),
        ("the brokers' own authority", served.brokers.issue(vec![uri(ENVOY)], |_| {})),
        (
            "expired",
            served.proxies.issue(vec![uri(ENVOY)], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)),
        ),
    ];
    for (what, pair) in refused {
        assert!(!served.hears(Some(&pair)).await, "{what}");
    }
}

#[tokio::test]
async fn h16_plain_text_is_not_answered() {
    let served = serve().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    // A TLS alert at most: record type 21.
    assert!(said.first().is_none_or(|kind| *kind == 21), "{said:?}");
}

#[tokio::test]
async fn i3_a_proxy_hears_of_and_serves_the_groups_of_its_name_only() {
    let served = serve().await;
    let everywhere = served.proxies.issue(vec![uri(ENVOY)], |_| {});
    let edge = served.proxies.issue(vec![dns("edge.example")], |_| {});
    for (pair, servers, released) in [(&everywhere, 7, true), (&edge, 0, false)] {
        let mut client = served.client(pair).await;
        let request = WatchSnapshotRequest { proxy: "envoy-1".into(), version: 0, filter_version: "1".into() };
        let mut updates = client.watch_snapshot(request).await.unwrap().into_inner();
        let first = updates.message().await.unwrap().unwrap();
        let Some(update::Update::Full(snapshot)) = first.update else { panic!("{first:?}") };
        assert_eq!(snapshot.servers.len(), servers);
        let answer = client.acquire_credential(served.fixture.alice("header")).await.unwrap().into_inner().answer;
        match answer.unwrap() {
            Answer::Credential(_) => assert!(released),
            Answer::Denied(denied) => assert_eq!((released, denied.reason()), (false, denied::Reason::Server)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn new_certificates_are_used_without_a_restart_and_bad_ones_are_not() {
    let served = serve().await;
    let envoy = served.proxies.issue(vec![uri(ENVOY)], |_| {});
    let shown = async || {
        let stream = served.connect(Some(&envoy)).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let first = shown().await;
    assert_eq!(shown().await, first);
    let good = served.brokers.issue(vec![dns("broker.example")], |_| {});
    put(served.dir.path(), &Pair { certificate: good.certificate.clone(), key: "no key".into() });
    assert_eq!(shown().await, first, "half of a pair is no pair");
    put(served.dir.path(), &good);
    assert_eq!(shown().await, pem(&good.certificate));
    std::fs::write(served.dir.path().join("proxies.pem"), Authority::new().pem).unwrap();
    assert!(!served.hears(Some(&envoy)).await, "its authority is not trusted any more");
}

#[tokio::test]
async fn files_that_make_no_listener_are_named() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let file = |name: &str| dir.path().join(name);
    let config = PeerTls {
        listen: ([127, 0, 0, 1], 0).into(),
        certificate_file: file("broker.crt"),
        key_file: file("broker.key"),
        client_ca_file: file("proxies.pem"),
        peers: vec![(San::Uri(ENVOY.into()), Scope::Every)],
    };
    let told = async || crate::causes::told(&TlsListener::bind(&config).await.unwrap_err()).to_string();
    assert!(told().await.contains("proxies.pem cannot be read"));
    std::fs::write(file("proxies.pem"), "").unwrap();
    assert!(told().await.contains("proxies.pem holds no certificate in PEM"));
    std::fs::write(file("proxies.pem"), &authority.pem).unwrap();
    let (one, other) = (authority.issue(vec![dns("a")], |_| {}), authority.issue(vec![dns("a")], |_| {}));
    put(dir.path(), &Pair { certificate: one.certificate, key: other.key });
    assert!(told().await.contains("is not the key of"));
}
