//! L7: providers that cannot be reached as real ones are, by name and behind TLS: a name that nobody resolves, a
//! certificate that is somebody else's or has expired, a handshake that breaks off.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::people::{DUE, People};
use super::*;
use crate::fetch::Lookup;
use crate::oauth::profile::GENERIC;
use crate::store::Standing;

const NAME: &str = "login.example.com";

/// For a connection to come about: short, since several are waited for to their end.
const CONNECT: Duration = Duration::from_millis(200);

/// Attempts that back-off allows in the fifth of an hour that is left of a due token.
const BUDGET: usize = 12;

/// How the provider cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    None,
    NoSuchName,
    NoAddress,
    NameServiceIsSilent,
    CertificateOfAStranger,
    CertificateOfAnotherName,
    CertificateHasExpired,
    HandshakeBreaksOff,
    HandshakeIsSilent,
}

const EVERY: [Outage; 8] = [
    Outage::NoSuchName,
    Outage::NoAddress,
    Outage::NameServiceIsSilent,
    Outage::CertificateOfAStranger,
    Outage::CertificateOfAnotherName,
    Outage::CertificateHasExpired,
    Outage::HandshakeBreaksOff,
    Outage::HandshakeIsSilent,
];

/// Name service and TLS before a provider on loopback.
struct Front {
    outage: watch::Sender<Outage>,
    /// Names looked up, each for one connection.
    attempts: AtomicUsize,
    good: TlsAcceptor,
    bad: [(Outage, TlsAcceptor); 3],
}

/// A certificate for this name until this year, its own authority.
fn certificate(name: &str, until: i32) -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), cert.pem())
}

impl Front {
    /// In front of `provider`; answers its token URL as well, and who reaches it.
    async fn before(provider: &url::Url) -> (Arc<Self>, url::Url, Arc<Fetcher>) {
        let (good, authority) = certificate(NAME, 4000);
        let (stranger, _) = certificate(NAME, 4000);
        let (other, of_other) = certificate("other.example.com", 4000);
        let (expired, of_expired) = certificate(NAME, 2001);
        let bad = [
            (Outage::CertificateOfAStranger, stranger),
            (Outage::CertificateOfAnotherName, other),
            (Outage::CertificateHasExpired, expired),
        ];
        let front =
            Arc::new(Self { outage: watch::Sender::new(Outage::None), attempts: AtomicUsize::new(0), good, bad });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{NAME}:{}/token", listener.local_addr().unwrap().port()).parse().unwrap();
        let behind: SocketAddr = provider.socket_addrs(|| None).unwrap()[0];
        let accepting = Arc::clone(&front);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&accepting).serve(stream, behind));
            }
        });
        let authorities = [authority, of_other, of_expired].concat();
        let names = Arc::clone(&front) as Arc<dyn Lookup>;
        let fetcher =
            Fetcher::with_lookup(&["127.0.0.0/8".parse().unwrap()], Some(authorities.as_bytes()), names, CONNECT);
        (front, url, Arc::new(fetcher.unwrap()))
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, behind: SocketAddr) {
        let mut now = self.outage.subscribe();
        let outage = *now.borrow_and_update();
        match outage {
            Outage::HandshakeBreaksOff => return,
            Outage::HandshakeIsSilent => {
                let _ = now.changed().await;
                return;
            }
            _ => {}
        }
        let bad = self.bad.iter().find(|(kind, _)| *kind == outage).map(|(_, acceptor)| acceptor);
        // A client that does not trust us hangs up here.
        let Ok(mut tls) = bad.unwrap_or(&self.good).accept(stream).await else { return };
        let mut plain = TcpStream::connect(behind).await.unwrap();
        // Either may have had enough; and no connection of better times is left.
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut tls, &mut plain) => {}
            _ = now.changed() => {}
        }
    }

    fn fails(&self, outage: Outage) {
        self.outage.send_replace(outage);
        self.attempts.store(0, Ordering::SeqCst);
    }

    fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Lookup for Front {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<SocketAddr>> {
        assert_eq!(name, NAME);
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let outage = *self.outage.borrow();
        match outage {
            Outage::NoSuchName => Err(std::io::Error::other("no such name")),
            Outage::NoAddress => Ok(Vec::new()),
            Outage::NameServiceIsSilent => std::future::pending().await,
            _ => Ok(vec!["127.0.0.1:0".parse().unwrap()]),
        }
    }
}

/// The old token serves until it is over, the provider is asked no more often than back-off allows, and then is named.
async fn is_survived(outage: Outage, front: &Front, clock: &FixedClock, refresher: &Refresher, source: &Source) {
    front.fails(outage);
    let old = text(&refresher.token(source, Need::NotDue).await.unwrap());
    for _ in 0..100 {
        clock.advance(Duration::from_secs(5));
        let served = refresher.token(source, Need::NotDue).await.unwrap();
        assert_eq!(text(&served), old, "{outage:?}");
    }
    assert!((4..=BUDGET).contains(&front.attempts()), "{outage:?}: {} attempts", front.attempts());
    clock.advance(HOUR);
    let error = refresher.token(source, Need::Live).await.unwrap_err();
    assert!(matches!(&error, RefreshError::Provider { host, .. } if host == NAME), "{outage:?}: {error:?}");
}

#[tokio::test]
async fn l7_a_refresh_survives_a_provider_that_cannot_be_reached() {
    for outage in EVERY {
        let mut people = People::at(&GENERIC).await;
        let (front, url, fetcher) = Front::before(&people.client.token_url).await;
        Arc::get_mut(&mut people.client).unwrap().token_url = url;
        let refresher = Refresher::new(Parts { endpoint: fetcher, ..people.fixture.parts("a") });
        people.agrees(Some("canary-refresh-0")).await;
        people.fixture.clock.advance(DUE);
        is_survived(outage, &front, &people.fixture.clock, &refresher, &people.alice()).await;
        let stored = people.stored().await;
        assert_eq!((stored.generation, stored.standing, stored.intent), (Generation(1), Standing::Live, None));
        assert_eq!(people.fixture.provider.count(), 0, "{outage:?}: nothing was sent");
        front.fails(Outage::None);
        refresher.reconsider();
        assert_eq!(text(&refresher.token(&people.alice(), Need::Live).await.unwrap()), "canary-token-1", "{outage:?}");
    }
}

#[tokio::test]
async fn l7_client_credentials_survive_a_provider_that_cannot_be_reached() {
    for outage in EVERY {
        let mut fixture = Fixture::new().await;
        let (front, url, fetcher) = Front::before(&fixture.client.token_url).await;
        Arc::get_mut(&mut fixture.client).unwrap().token_url = url;
        let refresher = Refresher::new(Parts { endpoint: fetcher, ..fixture.parts("a") });
        refresher.token(&fixture.service(), Need::Live).await.unwrap();
        let stored = fixture.stored().await.unwrap();
        fixture.clock.advance(HOUR.mul_f64(0.86));
        is_survived(outage, &front, &fixture.clock, &refresher, &fixture.service()).await;
        let after = StoredGrant { pause: None, ..fixture.stored().await.unwrap() };
        assert_eq!(after, stored, "{outage:?}");
        front.fails(Outage::None);
        refresher.reconsider();
        assert!(text(&refresher.token(&fixture.service(), Need::Live).await.unwrap()).starts_with("canary-token-"));
    }
}
