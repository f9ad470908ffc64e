//! A master key in AWS KMS. It never leaves there: each data key is asked for, wrapped and unwrapped by a request.
//!
//! The encryption context, which CloudTrail keeps in the clear, holds the tenant's name, the kind of the record and a hash
//! of its id: enough that what was wrapped for one record unwraps for no other, and nothing about people.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};

use super::aws_credentials::Kept;
use super::envelope::KeyId;
use super::master::{Bound, Cause, KeyError, MasterKey};
use super::{place, service_errors};
use crate::secret::Secret;

/// For one use of the key with all its attempts: less than a caller waits, so that the answer says why.
const DEADLINE: Duration = Duration::from_secs(2);
/// For one attempt.
const ATTEMPT: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 5;
/// Before the second attempt; the later ones wait longer.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Which key, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKmsKey {
    /// The key's own id: no alias, which somebody may point elsewhere.
    pub key_id: String,
    /// As given: the id, or the ARN that ends with it.
    pub named: String,
    /// For example `eu-central-1`.
    pub region: String,
    /// In place of AWS's own.
    pub endpoint: Option<String>,
}

pub(super) struct AwsKms {
    id: KeyId,
    key: AwsKmsKey,
    kept: String,
    client: Client,
}

impl AwsKms {
    /// With credentials from where AWS's own tools take them: environment, profile, web identity, container, instance.
    /// KMS itself is not asked yet.
    pub(super) async fn new(key: AwsKmsKey, ca_pem: Option<&[u8]>) -> Result<Self, Cause> {
        let tls = match ca_pem {
            Some(pem) => {
                TlsContext::builder().with_trust_store(TrustStore::empty().with_pem_certificate(pem)).build()?
            }
            None => TlsContext::default(),
        };
        let https = aws_smithy_http_client::Builder::new();
        let https = https.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https();
        let times = TimeoutConfig::builder()
            .connect_timeout(ATTEMPT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(DEADLINE)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(PAUSE)
            .with_max_backoff(LONGEST_PAUSE);
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .http_client(https)
            .region(Region::new(key.region.clone()))
            .timeout_config(times)
            .retry_config(retries)
            .load()
            .await;
        let mut config = aws_sdk_kms::config::Builder::from(&shared);
        if let Some(source) = shared.credentials_provider() {
            let kept = Kept::of(source);
            // Before the first use, which has no time for it. What keeps them away may be over by then.
            if let Err(error) = kept.credentials().await {
                tracing::warn!(error = %crate::causes::told(&error), "there are no credentials for AWS KMS yet");
            }
            config.set_credentials_provider(Some(SharedCredentialsProvider::new(kept)));
        }
        config.set_endpoint_url(key.endpoint.clone());
        let id = KeyId::of_name(b"sallyport.aws-kms.v1", &[key.key_id.as_bytes()]);
        let kept = match &key.endpoint {
            None => format!("AWS KMS key {} in {}", key.named, key.region),
            Some(endpoint) => format!("AWS KMS key {} in {} at {endpoint}", key.named, key.region),
        };
        Ok(Self { id, key, kept, client: Client::from_conf(config.build()) })
    }

    /// Whether an answer is this key's: `answered` is its ARN.
    fn is_ours(&self, answered: Option<&str>) -> Result<(), KeyError> {
        match answered.and_then(|arn| arn.rsplit('/').next()) == Some(&self.key.key_id) {
            true => Ok(()),
            false => Err(KeyError::Failed("it answered for another key".into())),
        }
    }
}

fn context(bound: Bound<'_>) -> HashMap<String, String> {
    let pairs = [
        ("sallyport:tenant", bound.tenant.0.clone()),
        ("sallyport:kind", bound.record.kind.name().to_owned()),
        ("sallyport:record", place::record_hash(bound.tenant, bound.record)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[async_trait]
impl MasterKey for AwsKms {
    fn id(&self) -> KeyId {
        self.id
    }

    fn kept(&self) -> &str {
        &self.kept
    }

    fn wraps(&self) -> Option<u64> {
        None
    }

    async fn fresh(&self, bound: Bound<'_>) -> Result<(Secret, Vec<u8>), KeyError> {
        let asked = self.client.generate_data_key().key_id(&self.key.named).key_spec(DataKeySpec::Aes256);
        let answer = asked.set_encryption_context(Some(context(bound))).send().await.map_err(told)?;
        self.is_ours(answer.key_id())?;
        match (answer.plaintext, answer.ciphertext_blob) {
            (Some(key), Some(wrapped)) => Ok((Secret::new(key.into_inner()), wrapped.into_inner())),
            (_, _) => Err(KeyError::Failed("it answered without a key".into())),
        }
    }

    async fn wrap(&self, bound: Bound<'_>, key: &Secret) -> Result<Vec<u8>, KeyError> {
        // Exposed to be wrapped, by who keeps the master key.
        let asked = self.client.encrypt().key_id(&self.key.named).plaintext(Blob::new(key.expose()));
        let answer = asked.set_encryption_context(Some(context(bound))).send().await.map_err(told)?;
        self.is_ours(answer.key_id())?;
        answer.ciphertext_blob.map(Blob::into_inner).ok_or_else(|| KeyError::Failed("it answered without a key".into()))
    }

    async fn unwrap(&self, bound: Bound<'_>, wrapped: &[u8]) -> Result<Secret, KeyError> {
        // With the key named, so that nobody puts what another key has wrapped in its place.
        let asked = self.client.decrypt().key_id(&self.key.named).ciphertext_blob(Blob::new(wrapped));
        let answer = asked.set_encryption_context(Some(context(bound))).send().await.map_err(told)?;
        self.is_ours(answer.key_id())?;
        let key = answer.plaintext.ok_or_else(|| KeyError::Failed("it answered without a key".into()))?;
        Ok(Secret::new(key.into_inner()))
    }
}

/// What AWS said, by what can be done about it.
fn told<E>(error: SdkError<E>) -> KeyError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match error {
        SdkError::TimeoutError(_) => KeyError::TimedOut,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => KeyError::TimedOut,
        SdkError::ServiceError(answer) => {
            let (code, message) = (answer.err().code().unwrap_or_default(), answer.err().message().unwrap_or_default());
            service_errors::of_aws_kms(code).error(format!("{code}: {message}").into())
        }
        error @ (SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_)) => {
            KeyError::Unreachable(error.into())
        }
        error => KeyError::Failed(error.into()),
    }
}
