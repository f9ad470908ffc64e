use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server on loopback that says the same thing to everybody, and counts.
pub(crate) struct Canary {
    pub(crate) address: SocketAddr,
    pub(crate) hits: Arc<AtomicUsize>,
}

impl Canary {
    /// Answers every connection with these bytes, then closes; or, if `None`, never answers.
    pub(crate) async fn start(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hits = Arc::new(AtomicUsize::new(0));
        let (counter, answer) = (Arc::clone(&hits), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                        let mut chunk = [0; 1024];
                        match stream.read(&mut chunk).await {
                            Ok(0) | Err(_) => return,
                            Ok(read) => head.extend_from_slice(&chunk[..read]),
                        }
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    match answer(&path) {
                        Some(bytes) => {
                            // The client may have had enough before the end.
                            let _ = stream.write_all(&bytes).await;
                            let _ = stream.shutdown().await;
                        }
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, hits }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

/// A whole HTTP/1.1 answer.
pub(crate) fn http(status: u16, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub(crate) fn loopback() -> Vec<IpNet> {
    vec!["127.0.0.0/8".parse().unwrap()]
}

/// A client for servers on loopback, which speak plain http.
pub(crate) fn fetcher(allow: &[IpNet]) -> Fetcher {
    Fetcher::new(allow, None).unwrap()
}

/// Answers look-ups with one address after the other, as a rebinding name server does.
struct Rebinding(Mutex<Vec<&'static str>>);

#[async_trait]
impl Lookup for Rebinding {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<SocketAddr>> {
        let mut answers = self.0.lock().unwrap();
        let next = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
        Ok(vec![SocketAddr::new(next.parse().unwrap(), 0)])
    }
}

async fn get(fetcher: &Fetcher, url: &str) -> Result<Answer, FetchError> {
    fetcher.send(Request::get(url.parse().unwrap())).await
}

#[tokio::test]
async fn reads_an_answer_from_listed_loopback() {
    let canary = Canary::start(|path| Some(http(200, path))).await;
    let answer = fetcher(&loopback()).send(Request::get(canary.url("/x"))).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.expose()), (200, &b"/x"[..]));
}

#[tokio::test]
async fn o9_reaches_nothing_inside_however_it_is_spelled() {
    let canary = Canary::start(|_| Some(http(200, "inside"))).await;
    let port = canary.address.port();
    let fetcher = fetcher(&[]);
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[0:0:0:0:0:0:0:1]",
        "localhost",
        "LOCALHOST",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "100.64.0.1",
        "[fe80::1]",
        "\u{ff11}27.0.0.1",
        "127\u{3002}0\u{3002}0\u{3002}1",
    ];
    for host in hosts {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/");
            let refused = get(&fetcher, &url).await.unwrap_err();
            assert!(matches!(refused, FetchError::Scheme | FetchError::Address), "{url}: {refused:?}");
        }
    }
    assert_eq!(canary.hits(), 0);
}

#[tokio::test]
async fn o9_refuses_other_schemes_and_credentials() {
    let fetcher = fetcher(&loopback());
    for url in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_INFO",
        "data:text/plain,x",
        "unix:/run/x.sock",
    ] {
        assert!(matches!(get(&fetcher, url).await, Err(FetchError::Scheme)), "{url}");
    }
    for url in [
        "https://user@example.com/",
        "https://user:pass@example.com/",
        "http://:pass@127.0.0.1/",
        "https://example.com@127.0.0.1/",
    ] {
        assert!(matches!(get(&fetcher, url).await, Err(FetchError::Credentials)), "{url}");
    }
    // Plain http, beyond loopback, is refused before any look-up.
    for url in ["http://8.8.8.8/", "http://[2606:4700::1111]/"] {
        assert!(matches!(get(&fetcher, url).await, Err(FetchError::Scheme)), "{url}");
    }
}

#[tokio::test]
async fn o9_a_name_that_points_inside_is_refused_at_every_look_up() {
    let canary = Canary::start(|_| Some(http(200, "inside"))).await;
    let port = canary.address.port();
    for answers in [
        vec!["127.0.0.1"],
        vec!["::1"],
        vec!["::ffff:127.0.0.1"],
        vec!["0.0.0.0"],
        vec!["169.254.169.254"],
        vec!["10.0.0.1", "127.0.0.1"],
    ] {
        let rebinding = Arc::new(Rebinding(Mutex::new(answers)));
        let fetcher = Fetcher::with_lookup(&[], None, rebinding, CONNECT).unwrap();
        for scheme in ["https", "http"] {
            for _ in 0..3 {
                let refused = get(&fetcher, &format!("{scheme}://rebind.example:{port}/")).await;
                assert!(matches!(refused, Err(FetchError::Address)), "{scheme}: {refused:?}");
            }
        }
    }
    // A public address does not make http acceptable.
    let public =
        Fetcher::with_lookup(&loopback(), None, Arc::new(Rebinding(Mutex::new(vec!["8.8.8.8"]))), CONNECT).unwrap();
    assert!(matches!(get(&public, "http://name.example/").await, Err(FetchError::Address)));
    assert_eq!(canary.hits(), 0);
}

/// Answers each look-up with the next set of addresses, as a name server does whose answers may not be kept.
struct Turning(Mutex<std::collections::VecDeque<Vec<&'static str>>>);

#[async_trait]
impl Lookup for Turning {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<SocketAddr>> {
        let set = self.0.lock().unwrap().pop_front().expect("no more look-ups than requests");
        Ok(set.into_iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect())
    }
}

#[tokio::test]
async fn o9_a_name_that_turns_inward_is_judged_for_each_request_and_connected_to_as_it_was_judged() {
    let outside = Canary::start(|_| Some(http(200, "outside"))).await;
    let port = outside.address.port();
    // Another address of this machine stands for the inside, at the same port.
    let inside = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let sets = [
        (vec!["127.0.0.1"], true),
        (vec!["127.0.0.2"], false),
        (vec!["127.0.0.2", "169.254.169.254", "::1"], false),
        (vec!["127.0.0.2", "127.0.0.1"], true),
        (vec!["10.0.0.1", "127.0.0.1", "127.0.0.2"], true),
        (vec![], false),
        (vec!["127.0.0.1"], true),
    ];
    let turning = Arc::new(Turning(Mutex::new(sets.iter().map(|(set, _)| set.clone()).collect())));
    let allow: Vec<IpNet> = vec!["127.0.0.1/32".parse().unwrap()];
    let fetcher = Fetcher::with_lookup(&allow, None, Arc::clone(&turning) as _, CONNECT).unwrap();
    for (set, is_reached) in &sets {
        let answer = get(&fetcher, &format!("http://turning.example:{port}/")).await;
        match is_reached {
            true => assert_eq!(answer.unwrap().body.expose(), b"outside", "{set:?}"),
            false => assert!(matches!(answer, Err(FetchError::Address)), "{set:?}"),
        }
    }
    assert!(turning.0.lock().unwrap().is_empty(), "each request looked once");
    assert_eq!(outside.hits(), sets.iter().filter(|(_, is_reached)| *is_reached).count());
    let nobody = std::future::poll_fn(|context| std::task::Poll::Ready(inside.poll_accept(context).is_pending())).await;
    assert!(nobody, "something connected to the inside");
}

#[tokio::test]
async fn o9_follows_no_redirect() {
    let inside = Canary::start(|_| Some(http(200, "inside"))).await;
    let target = inside.url("/secret").to_string();
    for status in [301, 302, 303, 307, 308] {
        let target = target.clone();
        let outside = Canary::start(move |_| {
            Some(
                format!("HTTP/1.1 {status} X\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .into_bytes(),
            )
        })
        .await;
        let answer = fetcher(&loopback()).send(Request::get(outside.url("/"))).await.unwrap();
        assert_eq!(answer.status.as_u16(), status);
    }
    assert_eq!(inside.hits(), 0);
}

#[tokio::test]
async fn refuses_an_answer_over_1_mib_told_or_not() {
    let told = Canary::start(|_| Some(b"HTTP/1.1 200 X\r\ncontent-length: 50000000\r\n\r\n".to_vec())).await;
    let untold = Canary::start(|_| {
        Some([&b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n"[..], &vec![b'x'; MAX_BODY_BYTES + 1]].concat())
    })
    .await;
    let exact = Canary::start(|_| Some(http(200, vec![b'x'; MAX_BODY_BYTES]))).await;
    let fetcher = fetcher(&loopback());
    for canary in [&told, &untold] {
        assert!(matches!(fetcher.send(Request::get(canary.url("/"))).await, Err(FetchError::TooLarge)));
    }
    assert_eq!(fetcher.send(Request::get(exact.url("/"))).await.unwrap().body.expose().len(), MAX_BODY_BYTES);
}

#[tokio::test]
async fn gives_up_on_a_server_that_never_answers() {
    let silent = Canary::start(|_| None).await;
    let started = std::time::Instant::now();
    assert!(matches!(fetcher(&loopback()).send(Request::get(silent.url("/"))).await, Err(FetchError::Timeout)));
    assert!(started.elapsed() < TIMEOUT + Duration::from_secs(2));
}

#[tokio::test]
async fn an_error_shows_no_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?token=canary", listener.local_addr().unwrap());
    drop(listener);
    let error = get(&fetcher(&loopback()), &url).await.unwrap_err();
    assert!(matches!(error, FetchError::Connection(_)));
    assert!(!format!("{error:?} {error}").contains("canary"));
}

#[test]
fn refuses_a_ca_file_without_certificates() {
    for pem in ["", "not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(matches!(Fetcher::new(&[], Some(pem.as_bytes())), Err(SetUpError::CaFile)), "{pem:?}");
    }
}

/// Answers look-ups with loopback, whatever the name.
struct Here;

#[async_trait]
impl Lookup for Here {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<SocketAddr>> {
        Ok(vec!["127.0.0.1:0".parse().unwrap()])
    }
}

/// An https server that is called `idp.example`; answers its port and its self-signed certificate.
async fn secure_server() -> (u16, String) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["idp.example".to_owned()]).unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], private).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us hangs up here.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = [0; 4096];
                if stream.read(&mut head).await.is_ok() {
                    let _ = stream.write_all(&http(200, "trusted")).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    (port, cert.pem())
}

#[tokio::test]
async fn https_trusts_the_named_server_under_the_given_authority_only() {
    let (port, certificate) = secure_server().await;
    let (_, stranger) = secure_server().await;
    let fetcher =
        |ca: Option<&str>| Fetcher::with_lookup(&loopback(), ca.map(str::as_bytes), Arc::new(Here), CONNECT).unwrap();
    let trusting = fetcher(Some(&certificate));
    let answer = get(&trusting, &format!("https://idp.example:{port}/")).await.unwrap();
    assert_eq!(answer.body.expose(), b"trusted");
    for name in ["other.example", "idp.example.evil.example", "127.0.0.1"] {
        let refused = get(&trusting, &format!("https://{name}:{port}/")).await;
        assert!(matches!(refused, Err(FetchError::Connection(_))), "{name}");
    }
    for ca in [Some(stranger.as_str()), None] {
        let refused = get(&fetcher(ca), &format!("https://idp.example:{port}/")).await;
        assert!(matches!(refused, Err(FetchError::Connection(_))));
    }
}
