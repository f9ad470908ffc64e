//! What a test may ask of the provider.

use super::{Family, Form, Outcome, Provider, Revoked, TokenRequest};

impl Provider {
    /// Where a browser is sent.
    pub fn authorization_url(&self) -> String {
        format!("{}/authorize", self.issuer)
    }

    /// Where tokens come from.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.issuer)
    }

    /// Where tokens are given back.
    pub fn revocation_url(&self) -> String {
        format!("{}/revoke", self.issuer)
    }

    /// The user, or the client itself, that a live access token speaks for.
    pub fn holder_of(&self, access_token: &str) -> Option<String> {
        let inner = self.state.lock();
        inner.ledger.holder_of(access_token, inner.now()).map(str::to_owned)
    }

    /// An access token that a resource accepts.
    pub fn is_live(&self, access_token: &str) -> bool {
        self.holder_of(access_token).is_some()
    }

    /// Every access token that a resource accepts, in no order.
    pub fn live_access_tokens(&self) -> Vec<String> {
        let inner = self.state.lock();
        inner.ledger.live_access_tokens(inner.now())
    }

    /// Every token request, oldest first, with what came of it.
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        self.state.lock().token_requests.clone()
    }

    /// Token requests of one grant type, oldest first.
    pub fn token_requests_by(&self, grant_type: &str) -> Vec<TokenRequest> {
        self.token_requests().into_iter().filter(|request| request.grant_type() == grant_type).collect()
    }

    /// How often a refresh token was presented.
    pub fn uses_of(&self, refresh_token: &str) -> usize {
        let requests = self.token_requests_by("refresh_token");
        requests.iter().filter(|request| request.form.get("refresh_token") == Some(refresh_token)).count()
    }

    /// Every access token issued, oldest first.
    pub fn issued(&self) -> Vec<String> {
        self.issued_by(|_| true)
    }

    /// Every access token issued for this scope, oldest first.
    pub fn issued_for(&self, scope: &str) -> Vec<String> {
        self.issued_by(|request| request.form.get("scope") == Some(scope))
    }

    fn issued_by(&self, which: impl Fn(&TokenRequest) -> bool) -> Vec<String> {
        let issued = |request: TokenRequest| match request.outcome {
            Outcome::Issued { access_token, .. } => Some(access_token),
            Outcome::NotProcessed | Outcome::Refused(_) => None,
        };
        self.token_requests().into_iter().filter(which).filter_map(issued).collect()
    }

    /// Everything that came of one approval each, oldest first.
    pub fn families(&self) -> Vec<Family> {
        self.state.lock().ledger.families.clone()
    }

    /// The newest approval of this user.
    pub fn family_of(&self, user: &str) -> Option<Family> {
        self.families().into_iter().rfind(|family| family.user == user)
    }

    /// Some family died because a refresh token was used that was no longer good.
    pub fn was_family_revoked(&self) -> bool {
        self.families().iter().any(|family| family.revoked == Some(Revoked::Reuse))
    }

    /// The parameters of every authorization request, oldest first: PKCE, redirect URIs, `resource`.
    pub fn authorizations(&self) -> Vec<Form> {
        self.state.lock().authorizations.clone()
    }

    /// Every code issued, oldest first.
    pub fn codes(&self) -> Vec<String> {
        self.state.lock().codes.clone()
    }

    /// Every token that a client gave back, oldest first.
    pub fn revocations(&self) -> Vec<String> {
        self.state.lock().revocations.clone()
    }

    /// How often it was asked, by a token, whose account that is for.
    pub fn accounts_asked(&self) -> usize {
        self.state.lock().accounts_asked
    }

    /// Every byte that was sent to it.
    pub fn received(&self) -> Vec<u8> {
        self.listening.received()
    }
}
