//! By TLS, with authorities of its own.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

/// Takes connections of clients that trust it; others hang up.
struct Listener(TcpListener, TlsAcceptor);

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, from)) = self.0.accept().await
                && let Ok(stream) = self.1.accept(stream).await
            {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// Starts one with a certificate for this name, and writes its authority to a file.
async fn engine_of(name: &str, ca_file: &Path) -> (Arc<Engine>, u16) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    std::fs::write(ca_file, params.self_signed(&authority_key).unwrap().pem()).unwrap();
    let authority = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let engine = Arc::new(Engine { version: AtomicU32::new(1), ..Engine::default() });
    let app = axum::Router::new().fallback(Engine::answer).with_state(Arc::clone(&engine));
    tokio::spawn(async move { axum::serve(Listener(listener, TlsAcceptor::from(Arc::new(config))), app).await });
    (engine, port)
}

#[tokio::test]
async fn v4_it_trusts_the_named_server_under_the_given_authority_only_and_shows_its_token_to_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, other_ca) = (dir.path().join("ca.pem"), dir.path().join("other.pem"));
    let (engine, port) = engine_of("localhost", &ca).await;
    let _ = engine_of("localhost", &other_ca).await;
    let at = |host: &str, ca_file: Option<&Path>| TransitKey {
        ca_file: ca_file.map(Path::to_owned),
        ..key(format!("https://{host}:{port}").parse().unwrap())
    };
    let fresh = async |key: TransitKey| {
        let vault = Vault::with_keys(vec![KeySource::Transit(key)], &Tenant("acme".into()), None).await.unwrap();
        vault.data_key(&place("g1")).await.map(drop)
    };
    for (host, ca_file) in [("localhost", Some(&*other_ca)), ("localhost", None), ("127.0.0.1", Some(&*ca))] {
        let error = error_of(fresh(at(host, ca_file)).await.unwrap_err());
        let KeyError::Unreachable(cause) = &error else { panic!("{host} {ca_file:?}: {error:?}") };
        let told = crate::causes::told(&**cause);
        assert!(told.contains("certificate"), "{host} {ca_file:?}: {told}");
    }
    assert_eq!(engine.count(), 0, "nobody is asked who was not known");
    fresh(at("localhost", Some(&ca))).await.unwrap();
    assert_eq!(engine.seen.lock().unwrap()[0].1["x-vault-token"], "canary-token");
}

#[tokio::test]
async fn what_holds_no_authority_ends_the_start_and_is_not_replaced_by_the_systems() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("ca.pem");
    std::fs::write(&empty, "not a certificate").unwrap();
    for ca_file in [empty, dir.path().join("missing.pem")] {
        let key = TransitKey { ca_file: Some(ca_file), ..key("https://localhost:1".parse().unwrap()) };
        assert!(Vault::with_keys(vec![KeySource::Transit(key)], &Tenant("acme".into()), None).await.is_err());
    }
}
