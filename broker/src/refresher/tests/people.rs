//! People's grants.

use super::*;
use crate::model::{AuthorizationCode, PrincipalId, ProviderClient};
use crate::oauth::profile::Profile;
use crate::store::{GrantCommit, Material, Sealed};

/// What somebody agrees to: two scopes, for two servers.
pub(crate) async fn agreed(
    vault: &Vault,
    key: GrantKey,
    generation: Generation,
    now: UnixTime,
    access: &str,
    refresh: Option<&str>,
) -> GrantCommit {
    let id = crate::keys::grant_id(&Tenant("t".into()), &key);
    let refresh = refresh.map(Secret::new);
    let pair = Pair::new(vault, &id).await.unwrap();
    let (access_token, refresh_token) = pair.seal(&id, generation, &Secret::new(access), refresh.as_ref());
    GrantCommit {
        id,
        key,
        generation,
        material: Material {
            access_token,
            refresh_token,
            issued_at: now,
            expires_at: now.after(HOUR),
            refresh_after: now.after(HOUR.mul_f64(0.82)),
        },
        scopes: vec!["read".to_owned(), "write".to_owned()],
        auth_revisions: vec!["r1".to_owned(), "r2".to_owned()],
        account: Some("account-at-provider".to_owned()),
        consented_at: Some(now),
        consented_by: None,
        invalidates: Some(now),
    }
}

/// The client at a provider with this token endpoint.
pub(crate) fn provider_client(token_url: url::Url, profile: &'static Profile) -> ProviderClient {
    let text = |text: &str| Template(vec![TemplatePart::Text(text.to_owned())]);
    ProviderClient {
        id: "client".to_owned(),
        authorization_url: "https://login.example.com/authorize".parse().unwrap(),
        token_url,
        revocation_url: None,
        introspection_url: None,
        issuer: None,
        client_id: text("gate"),
        client_secret: Some(text("canary-secret")),
        client_authentication: ClientAuthentication::Post,
        resource: None,
        additional_params: vec![],
        profile,
        rotation: profile.rotation,
    }
}

/// Just due.
pub(super) const DUE: Duration = Duration::from_secs(3600 * 86 / 100);

/// Alice's grant at one provider client, and the servers that use it.
pub(super) struct People {
    pub(super) fixture: Fixture,
    pub(super) client: Arc<ProviderClient>,
}

impl People {
    pub(super) async fn at(profile: &'static Profile) -> Self {
        Self::with(profile, Limits { wait: Duration::from_secs(20), ..Limits::default() }).await
    }

    /// At a provider that is given up after a moment.
    pub(super) async fn impatient(profile: &'static Profile) -> Self {
        let limits =
            Limits { provider: Duration::from_millis(100), wait: Duration::from_secs(20), ..Limits::default() };
        Self::with(profile, limits).await
    }

    pub(super) async fn with(profile: &'static Profile, limits: Limits) -> Self {
        let fixture = Fixture::with(limits).await;
        let client = Arc::new(provider_client(fixture.client.token_url.clone(), profile));
        fixture.provider.answers(200, provider::PAIR);
        Self { fixture, client }
    }

    /// A server that needs these scopes, for one of its callers.
    pub(super) fn server(&self, scopes: &[&str], auth_revision: &str, holder: &str) -> Source {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let client =
            AuthorizationCode { client: Arc::clone(&self.client), scopes, auth_revision: auth_revision.to_owned() };
        Source::Person { client: Arc::new(client), holder: PrincipalId(holder.to_owned()) }
    }

    pub(super) fn alice(&self) -> Source {
        self.server(&["read"], "r1", "alice")
    }

    /// Alice agrees (anew): to two scopes, for two servers.
    pub(super) async fn agrees(&self, refresh_token: Option<&str>) {
        let record = self.next_generation("canary-agreed", refresh_token).await;
        self.fixture.store.commit_grant(&record).await.unwrap();
        self.fixture.refresher.forget(&record.key, Generation(record.generation.0 - 1));
        if let Some(token) = refresh_token {
            self.fixture.provider.is_strict(token);
        }
    }

    pub(super) async fn next_generation(&self, access: &str, refresh: Option<&str>) -> GrantCommit {
        let (key, now) = (self.alice().grant(), self.fixture.clock.now());
        let before = self.fixture.store.grant(&key).await.unwrap().map_or(0, |stored| stored.generation.0);
        agreed(&self.fixture.vault, key, Generation(before + 1), now, access, refresh).await
    }

    pub(super) async fn token(&self, need: Need) -> Result<String, RefreshError> {
        self.fixture.refresher.token(&self.alice(), need).await.map(|served| text(&served))
    }

    pub(super) async fn reason(&self) -> ConsentReason {
        match self.token(Need::Live).await {
            Err(RefreshError::NeedsConsent { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// A commit has lost: of its refresh token, sealed by this vault, a spare was made.
    pub(super) async fn keeps_spare(&self, vault: &Vault, token: &str) {
        let (stored, spare) = (self.stored().await, self.spare(vault, token).await);
        let Generation(generation) = stored.generation;
        let of_spare = Generation(generation + 1);
        self.fixture.store.keep_spare(&stored.id, stored.generation, of_spare, &spare).await.unwrap();
    }

    pub(super) async fn spare(&self, vault: &Vault, token: &str) -> Sealed {
        let stored = self.stored().await;
        let pair = Pair::new(vault, &stored.id).await.unwrap();
        let generation = Generation(stored.generation.0 + 1);
        pair.seal(&stored.id, generation, &Secret::new("unused"), Some(&Secret::new(token))).1.unwrap()
    }

    pub(super) async fn stored(&self) -> StoredGrant {
        self.fixture.store.grant(&self.alice().grant()).await.unwrap().unwrap()
    }

    pub(super) async fn until_idle(&self) {
        let key = self.fixture.refresher.0.key(&self.alice().grant());
        while self.fixture.refresher.0.flights.under_way(&key) {
            tokio::task::yield_now().await;
        }
    }

    /// Which refresh tokens the provider was sent.
    pub(super) fn sent(&self) -> Vec<String> {
        let sent = |form: &String| {
            let mut pairs = url::form_urlencoded::parse(form.as_bytes());
            pairs.find(|(name, _)| name == "refresh_token").unwrap().1.into_owned()
        };
        self.fixture.provider.seen().iter().map(sent).collect()
    }
}
