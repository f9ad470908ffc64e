//! From a server's configuration to the headers that are set upstream.

use std::sync::Arc;
use std::time::Duration;

use sallyport_caller::Caller;
use sallyport_proto::broker::{Header, Timings};
use zeroize::Zeroizing;

use super::{Admitted, Inner, Refused, micros};
use crate::clock::UnixTime;
use crate::consent;
use crate::fingerprints::Fingerprint;
use crate::keys::SERVICE_HOLDER;
use crate::model::{Auth, Generation};
use crate::refresher::due::{Chance, refresh_after};
use crate::refresher::{Need, RefreshError, Served, Source, UsedSecret};

/// How long a proxy may keep what does not expire by itself: then the broker looks at everything again.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// A credential that nobody but us has seen yet.
pub(super) struct Prepared {
    pub(super) headers: Vec<Header>,
    pub(super) grant: Option<(String, Generation)>,
    /// Of the secrets in the headers: `<reference>#<generation>` each.
    pub(super) secrets: Vec<String>,
    /// Of every value that the upstream gets to see.
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) provider_account: Option<String>,
    pub(super) issued_at: UnixTime,
    pub(super) expires_at: UnixTime,
    pub(super) refresh_after: UnixTime,
    pub(super) source: &'static str,
}

impl Inner {
    /// Prepares what a server is to be sent on behalf of a caller whom policy has let through; `token` is the caller's own.
    pub(super) async fn prepare(
        &self,
        Admitted { verified, server, .. }: &Admitted,
        token: &str,
        need: Need,
        timings: &mut Timings,
    ) -> Result<Prepared, Refused> {
        let caller = &verified.caller;
        match &server.auth {
            Auth::None => Ok(self.lasting(caller)),
            Auth::Passthrough { .. } => {
                Ok(Prepared { fingerprints: vec![self.fingerprints.of(token.as_bytes())], ..self.lasting(caller) })
            }
            Auth::Header(headers) => {
                let mut prepared = self.lasting(caller);
                let started = std::time::Instant::now();
                for (name, template) in headers {
                    let resolved = self.secrets.resolve(template).await.map_err(RefreshError::from)?;
                    // Exposed to be sent to the proxy, over the socket only it may open.
                    prepared.headers.push(header(name, resolved.value.expose())?);
                    if resolved.secrets.is_empty() {
                        // What is no secret of ours may still open the upstream.
                        prepared.fingerprints.push(self.fingerprints.of(resolved.value.expose()));
                    }
                    for UsedSecret { reference, generation, value } in resolved.secrets {
                        prepared.secrets.push(format!("{reference}#{}", generation.0));
                        // Exposed to be named without being told.
                        prepared.fingerprints.push(self.fingerprints.of(value.expose()));
                    }
                }
                timings.store_us += micros(started.elapsed());
                Ok(prepared)
            }
            Auth::AuthorizationCode(client) => {
                self.is_answered_for(caller)?;
                let (client, holder) = (Arc::clone(client), verified.principal.clone());
                self.of_grant(&Source::Person { client, holder }, need, timings).await
            }
            Auth::ClientCredentials(client) => self.of_grant(&Source::Service(Arc::clone(client)), need, timings).await,
        }
    }

    /// A virtual account acts as a person only as long as its manifest names owners, who can see that and end it.
    fn is_answered_for(&self, caller: &Caller) -> Result<(), Refused> {
        let account = caller.subjects().iter().find_map(|subject| subject.strip_prefix("virtualaccount:"));
        let published = self.publisher.current();
        let has_owners =
            |name: &str| published.servers.virtual_accounts.get(name).is_some_and(|account| !account.owners.is_empty());
        match account.is_none_or(has_owners) {
            true => Ok(()),
            false => Err(Refused::NoConsent(consent::Refused::NoOwner)),
        }
    }

    async fn of_grant(&self, source: &Source, need: Need, timings: &mut Timings) -> Result<Prepared, Refused> {
        let served = self.refresher.token(source, need).await?;
        let Served { token, renewed, store, waited, at_token_endpoint } = served;
        timings.store_us += micros(store);
        timings.lock_wait_us += micros(waited);
        timings.token_endpoint_us += micros(at_token_endpoint);
        let now = self.clock.now();
        // A token that is due already is being renewed: asked for again soon, not at once and by all.
        let refresh_after = match token.refresh_after > now {
            true => token.refresh_after,
            false => refresh_after(now, token.expires_at.min(now.after(Duration::from_secs(5))), Chance::draw()),
        };
        // Exposed to be sent to the proxy, over the socket only it may open.
        let value = Zeroizing::new([b"Bearer ", token.access_token.expose()].concat());
        Ok(Prepared {
            headers: vec![header("authorization", &value)?],
            grant: Some((token.grant.clone(), token.generation)),
            secrets: Vec::new(),
            // Exposed to be named without being told.
            fingerprints: vec![self.fingerprints.of(token.access_token.expose())],
            provider_account: match source {
                Source::Service(_) => Some(SERVICE_HOLDER.to_owned()),
                Source::Person { .. } => token.account.clone(),
            },
            issued_at: token.issued_at,
            expires_at: token.expires_at,
            refresh_after,
            source: if renewed { "refresh" } else { "stored" },
        })
    }

    /// For as long as the caller's token opens the door, and without anything in it yet.
    fn lasting(&self, caller: &Caller) -> Prepared {
        let issued_at = self.clock.now();
        // Leeway included.
        let token_ends = UnixTime(caller.expires_at_ms().saturating_add(sallyport_caller::LEEWAY_MS));
        let expires_at = token_ends.max(issued_at).min(issued_at.after(MAX_AGE));
        Prepared {
            headers: Vec::new(),
            grant: None,
            secrets: Vec::new(),
            fingerprints: Vec::new(),
            provider_account: None,
            issued_at,
            expires_at,
            refresh_after: refresh_after(issued_at, expires_at, Chance::draw()),
            source: "stored",
        }
    }
}

/// A header that splits into no other: visible bytes, spaces and tabs only (RFC 9110 §5.5, without obsolete text).
fn header(name: &str, value: &[u8]) -> Result<Header, Refused> {
    let is_sendable = !value.is_empty() && value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    match is_sendable {
        true => Ok(Header { name: name.to_ascii_lowercase(), value: value.to_vec() }),
        false => Err(Refused::HeaderValue),
    }
}
