//! Sign-in at a login issuer (OpenID Connect Core 1.0 §3.1): code, PKCE, state, nonce, and a strict look at the ID token.

use sallyport_caller::{Asked, IdTokenError, Person, TokenError, verify_id_token};
use url::Url;

use super::{Begun, Browser, Destination, Inner, Refused, SignIns, SignedIn, Through, is_equal, random_id, session};
use crate::keys;
use crate::model::{Generation, Identity};
use crate::oauth::Verifier;
use crate::oauth::authorize::AuthorizationRequest;
use crate::oauth::callback::{self, ExpectedIssuer, Outcome};
use crate::oauth::profile::GENERIC;
use crate::principals;
use crate::secret::Secret;
use crate::store::{SignInKind, StoreError, StoredSignIn};
use crate::vault::{Place, RecordKind};

/// This gateway as a client of a login issuer.
#[derive(Debug)]
pub struct Oidc {
    /// The exact `iss`.
    pub issuer: String,
    /// As registered there.
    pub client_id: Secret,
    /// As registered there; none for a public client.
    pub client_secret: Option<Secret>,
    /// Asked for; `openid` is among them.
    pub scopes: Vec<String>,
    /// It supports PKCE with S256 although it may not say so.
    pub assume_pkce: bool,
}

/// What the browser must bring back or the ID token must carry. Sealed as one field.
struct Kept {
    state: Secret,
    nonce: Secret,
    verifier: Verifier,
}

impl SignIns {
    /// Begins: the state is stored before the browser leaves.
    ///
    /// # Errors
    /// If the issuer is not configured or not reached, or the store does not answer.
    pub async fn begin_oidc(&self, to: &Destination) -> Result<Begun, Refused> {
        let inner = &self.0;
        let provider = inner.provider.as_ref().ok_or(Refused::NotConfigured)?;
        let endpoints = provider.endpoints().await?;
        let (id, cookie, kept) = (random_id(), Secret::random::<32>(), Kept::random());
        // Exposed because the browser carries it to the issuer; the id finds the sign-in again.
        let state = Secret::new(format!("{id}.{}", kept.state.expose_str().unwrap_or_default()));
        let request = AuthorizationRequest {
            authorization_url: &endpoints.authorization,
            client_id: &provider.oidc.client_id,
            redirect_uri: &inner.callback_url(),
            scopes: &provider.oidc.scopes,
            state: &state,
            verifier: &kept.verifier,
            resource: None,
            profile: &GENERIC,
        };
        // Exposed likewise; it was made of a `Url` just now.
        let mut url: Url =
            request.url()?.expose_str().and_then(|url| url.parse().ok()).expect("a serialised URL is one");
        url.query_pairs_mut().append_pair("nonce", kept.nonce.expose_str().unwrap_or_default());
        let begun = inner.fresh(SignInKind::Oidc, id, Some(&cookie));
        let secrets = inner.vault.data_key(&place(&begun.id)).await?.seal(&place(&begun.id), &kept.joined());
        inner.store.add_sign_in(&StoredSignIn { secrets: Some(secrets), consent: to.stored(), ..begun }).await?;
        Ok(Begun { cookie, url, host: provider.host().to_owned() })
    }

    /// Reads the issuer's answer, in the browser that began, once.
    ///
    /// # Errors
    /// [`Refused`], recorded.
    pub async fn finish_oidc(&self, query: &str, browser: Browser<'_>) -> Result<SignedIn, Refused> {
        match self.0.finish_oidc(query, browser).await {
            Err(refused) => Err(self.0.refuse(None, browser.request_id, refused).await),
            signed_in => signed_in,
        }
    }
}

impl Inner {
    async fn finish_oidc(&self, query: &str, browser: Browser<'_>) -> Result<SignedIn, Refused> {
        let provider = self.provider.as_ref().ok_or(Refused::NotConfigured)?;
        let endpoints = provider.endpoints().await?;
        let issuer = match endpoints.names_itself {
            true => ExpectedIssuer::Always(&provider.oidc.issuer),
            false => ExpectedIssuer::IfSent(&provider.oidc.issuer),
        };
        let answer = callback::read(query, issuer)?;
        let (begun, kept) = self.begun_oidc(&answer.state, browser).await?;
        // Used up whatever the answer is: a code is good once, and so is a refusal.
        match self.store.use_sign_in(&begun.id, self.clock.now()).await {
            Err(StoreError::Conflict) => return Err(Refused::Unknown),
            other => other?,
        }
        let code = match answer.outcome {
            Outcome::Code(code) => code,
            Outcome::Denied(denial) => return Err(Refused::Denied(denial)),
        };
        let tokens = provider.tokens(&endpoints, &code, &kept.verifier, &self.callback_url()).await?;
        let id_token = tokens.id_token.ok_or(Refused::NoIdToken)?;
        let person = self.person(&provider.oidc, &id_token, &kept.nonce, &tokens.access_token).await?;
        let identity = Identity { issuer: person.issuer().to_owned(), subject: person.subject().to_owned() };
        let principal = principals::of(&*self.store, &identity, person.email(), self.clock.now()).await?;
        let through = Through { name: person.issuer(), teams: person.teams(), external_identities: &[] };
        self.finish(&principal, through, Destination::restored(&begun.consent), browser, None).await
    }

    /// What was begun in this browser with this state.
    async fn begun_oidc(&self, state: &Secret, browser: Browser<'_>) -> Result<(StoredSignIn, Kept), Refused> {
        // Exposed to find the sign-in, and to be compared below.
        let (id, sent) = state.expose_str().and_then(|state| state.split_once('.')).ok_or(Refused::State)?;
        let begun = self.begun_here(SignInKind::Oidc, id, browser).await?;
        let sealed = begun.secrets.as_ref().ok_or(Refused::Unknown)?;
        let kept = self.vault.open(&place(&begun.id), sealed).await?;
        let kept = Kept::split(&kept).ok_or(Refused::State)?;
        match is_equal(&session::hash(&kept.state), &session::hash(&Secret::new(sent))) {
            true => Ok((begun, kept)),
            false => Err(Refused::State),
        }
    }

    /// Whom the issuer says it is. A key that is not known yet is asked for once.
    async fn person(
        &self,
        oidc: &Oidc,
        id_token: &Secret,
        nonce: &Secret,
        access_token: &Secret,
    ) -> Result<Person, Refused> {
        let now = self.clock.now().0;
        // Exposed to be compared with what is in the token, which is itself exposed to be verified.
        let asked = Asked {
            issuer: &oidc.issuer,
            client_id: oidc.client_id.expose_str().unwrap_or_default(),
            nonce: nonce.expose_str().unwrap_or_default(),
            access_token: access_token.expose(),
        };
        let issuers = self.issuers.current();
        match verify_id_token(id_token.expose(), &asked, &issuers, now) {
            Err(IdTokenError::Token(TokenError::UnknownKey { issuer, kid })) => {
                let key = self.issuers.resolve_key(&issuer, &kid).await;
                let unknown =
                    || IdTokenError::from(TokenError::UnknownKey { issuer: issuer.clone(), kid: kid.clone() });
                let issuers = issuers.with_key(&issuer, key.ok_or_else(unknown)?);
                Ok(verify_id_token(id_token.expose(), &asked, &issuers, now)?)
            }
            other => Ok(other?),
        }
    }

    fn callback_url(&self) -> Url {
        let url = format!("{}/signin/callback", self.public_url);
        url.parse().expect("public_url is an origin")
    }
}

fn place(id: &str) -> Place<'_> {
    Place { kind: RecordKind::SignIn, record: id, field: "secrets", generation: Generation(1) }
}

impl Kept {
    fn random() -> Self {
        // Exposed to be written as text.
        let text = || Secret::new(keys::hex(Secret::random::<16>().expose()));
        Self { state: text(), nonce: text(), verifier: Verifier::random() }
    }

    /// Two hexadecimal texts of one length, and the rest.
    fn joined(&self) -> Secret {
        // Exposed to be sealed at once.
        Secret::new([self.state.expose(), self.nonce.expose(), self.verifier.as_secret().expose()].concat())
    }

    fn split(kept: &Secret) -> Option<Self> {
        // Exposed to be taken apart; the parts are secrets again.
        let (state, rest) = kept.expose().split_at_checked(32)?;
        let (nonce, verifier) = rest.split_at_checked(32)?;
        let verifier = Verifier::restored(Secret::new(verifier))?;
        Some(Self { state: Secret::new(state), nonce: Secret::new(nonce), verifier })
    }
}
