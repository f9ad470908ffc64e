//! A master key in the transit secrets engine of HashiCorp Vault or OpenBao. It never leaves there.
//!
//! Data keys come from `datakey/plaintext`, which knows no associated data; what binds one to its record is the `context`
//! that the key itself is derived with: a hash of tenant, kind and id. A key that was not made with `derived=true` ignores
//! it. Then what was wrapped for one record would unwrap for another, so such a key is found out before its first use, and
//! is not used.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::envelope::KeyId;
use super::master::{Bound, Cause, KeyError, MasterKey};
use super::{place, service_errors};
use crate::secret::Secret;

/// For one use of the key with all its attempts: less than a caller waits, so that the answer says why.
const DEADLINE: Duration = Duration::from_secs(2);
/// For one attempt.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Before the second attempt; each later pause is twice as long.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The largest answer that is read, bytes: a data key is far below.
const MAX_ANSWER: usize = 64 * 1024;

/// Where the token is; read for each request, since whoever renews it writes it anew.
#[derive(Clone)]
pub struct TokenSource(Arc<dyn Fn() -> Result<Secret, Cause> + Send + Sync>);

impl TokenSource {
    /// Asked for each request.
    pub fn new(read: impl Fn() -> Result<Secret, Cause> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Which key, and where.
#[derive(Clone, Debug)]
pub struct TransitKey {
    /// Of the server: https, or http on loopback.
    pub address: Url,
    /// Where the secrets engine is mounted, for example `transit`.
    pub mount: String,
    /// Name of the key.
    pub name: String,
    /// Namespace; empty for none.
    pub namespace: String,
    /// What lets us use it.
    pub token: TokenSource,
    /// PEM bundle of certificate authorities, in place of the system's.
    pub ca_file: Option<PathBuf>,
}

pub(super) struct Transit {
    id: KeyId,
    key: TransitKey,
    kept: String,
    client: reqwest::Client,
    /// The latest version of the key that was seen in an answer; 0 before the first.
    version: AtomicU32,
    /// Whether the key was found to be derived.
    derived: OnceCell<()>,
}

/// Of an answer. Nothing in base64 is ever escaped, so that no copy of a key is made here.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    plaintext: Option<&'a str>,
    ciphertext: Option<&'a str>,
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<String>,
}

impl Transit {
    /// Nothing is asked yet.
    pub(super) fn new(key: TransitKey) -> Result<Self, Cause> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(ATTEMPT)
            .user_agent(concat!("sallyport/", env!("CARGO_PKG_VERSION")));
        let pem = key.ca_file.as_ref().map(std::fs::read).transpose()?;
        builder = builder.tls_backend_preconfigured(crate::fetch::tls(pem.as_deref())?);
        let namespace = if key.namespace.is_empty() { String::new() } else { format!(" in {}", key.namespace) };
        let kept = format!("transit key {}/{}{namespace} at {}", key.mount, key.name, key.address);
        let names = [key.namespace.as_bytes(), key.mount.as_bytes(), key.name.as_bytes()];
        let id = KeyId::of_name(b"sallyport.transit.v1", &names);
        Ok(Self { id, key, kept, client: builder.build()?, version: AtomicU32::new(0), derived: OnceCell::new() })
    }

    /// One use of the key, asked again as long as there is time.
    async fn ask(&self, operation: &str, body: &Secret) -> Result<Secret, KeyError> {
        let until = Instant::now() + DEADLINE;
        let mut pause = PAUSE;
        loop {
            let error = match timeout_at(until, timeout(ATTEMPT, self.attempt(operation, body))).await {
                Ok(Ok(Ok(answer))) => return Ok(answer),
                Ok(Ok(Err((error, may_pass)))) if !may_pass => return Err(error),
                Ok(Ok(Err((error, _)))) => error,
                Ok(Err(_)) | Err(_) => KeyError::TimedOut,
            };
            if Instant::now() + pause >= until {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The body of an answer; or why there is none, and whether there may be one in a moment.
    async fn attempt(&self, operation: &str, body: &Secret) -> Result<Secret, (KeyError, bool)> {
        let failed = |error: Cause| (KeyError::Failed(error), false);
        let mut url = self.key.address.clone();
        let path = format!("/v1/{}/{operation}/{}", self.key.mount, self.key.name);
        url.set_path(&path);
        let token = (self.key.token.0)().map_err(|error| (KeyError::Denied(error), false))?;
        // Exposed to be shown to who keeps the key.
        let mut token = HeaderValue::from_bytes(token.expose()).map_err(|error| failed(error.into()))?;
        token.set_sensitive(true);
        // Exposed to be sent there.
        let mut request = self.client.post(url).header(CONTENT_TYPE, "application/json").body(body.expose().to_vec());
        request = request.header("X-Vault-Token", token).header("X-Vault-Request", "true");
        if !self.key.namespace.is_empty() {
            request = request.header("X-Vault-Namespace", &self.key.namespace);
        }
        let unreachable = |error: reqwest::Error| match error.is_timeout() {
            true => (KeyError::TimedOut, true),
            false => (KeyError::Unreachable(error.without_url().into()), true),
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut read = zeroize::Zeroizing::new(Vec::with_capacity(4096));
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if read.len() + chunk.len() > MAX_ANSWER {
                return Err(failed("its answer is larger than 64 KiB".into()));
            }
            read.extend_from_slice(&chunk);
        }
        if status == StatusCode::OK {
            return Ok(Secret::new(std::mem::take(&mut *read)));
        }
        let told = serde_json::from_slice::<Refusal>(&read).map(|told| told.errors.join("; ")).unwrap_or_default();
        let meaning = service_errors::of_transit(status.as_u16(), &told);
        Err((meaning.error(format!("{}: {told}", status.as_u16()).into()), meaning.may_pass()))
    }

    /// A fresh data key, and it wrapped.
    async fn data_key(&self, context: &str) -> Result<(Secret, Vec<u8>), KeyError> {
        let asked = Secret::new(json!({ "context": context, "bits": 256 }).to_string());
        let answer = self.ask("datakey/plaintext", &asked).await?;
        let data = read(&answer)?;
        let (Some(key), Some(wrapped)) = (data.plaintext, data.ciphertext) else {
            return Err(KeyError::Failed("it answered without a key".into()));
        };
        Ok((decoded(key)?, self.wrapped(wrapped)?))
    }

    async fn decrypt(&self, context: &str, wrapped: &[u8]) -> Result<Secret, KeyError> {
        // What is no text of a version is none that it has made.
        let wrapped = std::str::from_utf8(wrapped).map_err(|_| KeyError::NotOurs)?;
        version(wrapped).ok_or(KeyError::NotOurs)?;
        let asked = Secret::new(json!({ "context": context, "ciphertext": wrapped }).to_string());
        let answer = self.ask("decrypt", &asked).await?;
        let data = read(&answer)?;
        decoded(data.plaintext.ok_or_else(|| KeyError::Failed("it answered without a key".into()))?)
    }

    /// Remembers the version that has wrapped it.
    fn wrapped(&self, text: &str) -> Result<Vec<u8>, KeyError> {
        let version = version(text).ok_or_else(|| KeyError::Failed("it answered with no version of the key".into()))?;
        self.version.fetch_max(version, Ordering::Relaxed);
        Ok(text.as_bytes().to_vec())
    }

    /// Finds out, once, whether the key binds what it wraps: what it has wrapped for one record must not unwrap for another.
    async fn is_derived(&self) -> Result<(), KeyError> {
        let check = || async {
            let [one, other] = ["one", "another"].map(|name| STANDARD.encode(format!("sallyport.check.v1 {name}")));
            let (_, wrapped) = self.data_key(&one).await?;
            match self.decrypt(&other, &wrapped).await {
                Err(KeyError::NotOurs) => Ok(()),
                Ok(_) => Err(KeyError::Failed(
                    "the key does not bind what it wraps to a context: make one with `derived=true`".into(),
                )),
                Err(error) => Err(error),
            }
        };
        self.derived.get_or_try_init(check).await.copied()
    }
}

/// What a derived key is derived with: says nothing about people, and is another one for each record.
fn context(bound: Bound<'_>) -> String {
    let parts = ["sallyport.transit.v1", &bound.tenant.0, bound.record.kind.name()];
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(place::record_hash(bound.tenant, bound.record));
    STANDARD.encode(hash.finalize())
}

fn read(answer: &Secret) -> Result<Data<'_>, KeyError> {
    // Exposed to be read. Why it cannot be is not told: that might quote it.
    let read = serde_json::from_slice::<Answer<'_>>(answer.expose());
    read.map(|answer| answer.data).map_err(|_| KeyError::Failed("its answer is none of the transit API's".into()))
}

fn decoded(text: &str) -> Result<Secret, KeyError> {
    STANDARD
        .decode(text)
        .map(Secret::new)
        .map_err(|_| KeyError::Failed("it answered with something else than a key".into()))
}

/// Of `vault:v<version>:<base64>`.
fn version(wrapped: &str) -> Option<u32> {
    let (version, rest) = wrapped.strip_prefix("vault:v")?.split_once(':')?;
    let is_number = !version.starts_with('0') && version.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !rest.is_empty()).then(|| version.parse().ok()).flatten()
}

#[async_trait]
impl MasterKey for Transit {
    fn id(&self) -> KeyId {
        self.id
    }

    fn kept(&self) -> &str {
        &self.kept
    }

    fn wraps(&self) -> Option<u64> {
        None
    }

    fn version(&self) -> Option<u32> {
        Some(self.version.load(Ordering::Relaxed)).filter(|version| *version > 0)
    }

    async fn fresh(&self, bound: Bound<'_>) -> Result<(Secret, Vec<u8>), KeyError> {
        self.is_derived().await?;
        self.data_key(&context(bound)).await
    }

    async fn wrap(&self, bound: Bound<'_>, key: &Secret) -> Result<Vec<u8>, KeyError> {
        self.is_derived().await?;
        // Exposed to be wrapped, by who keeps the master key.
        let plaintext = zeroize::Zeroizing::new(STANDARD.encode(key.expose()));
        let asked = Secret::new(json!({ "context": context(bound), "plaintext": *plaintext }).to_string());
        let answer = self.ask("encrypt", &asked).await?;
        let wrapped = read(&answer)?.ciphertext;
        self.wrapped(wrapped.ok_or_else(|| KeyError::Failed("it answered without a key".into()))?)
    }

    async fn unwrap(&self, bound: Bound<'_>, wrapped: &[u8]) -> Result<Secret, KeyError> {
        self.decrypt(&context(bound), wrapped).await
    }
}

#[cfg(test)]
mod tests;
