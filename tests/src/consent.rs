//! A person's way from a refused call to a grant, by the pages themselves and without a window.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use url::Url;

use crate::{Browser, Idp, OAuth, Page, Reply, Server, World, now_seconds};

/// The cookie of a signed-in browser.
pub(crate) const SESSION: &str = "__Host-sallyport-session";

/// The code of "you must consent first".
const CONSENT_REQUIRED: i64 = -31001;

impl World {
    /// This person's token for a server.
    pub fn token_of(&self, person: &Browser, server: &Server) -> String {
        self.issuer.token(&person.login, server).mint()
    }

    /// The link that a call of this person is refused with.
    ///
    /// # Panics
    /// When the call gets another answer.
    pub async fn consent_link(&self, person: &Browser, server: &Server) -> Url {
        let reply = server.call_as(&self.token_of(person, server)).send().await;
        self.link_in(&reply)
    }

    /// The link that a refused call was answered with.
    ///
    /// # Panics
    /// When the answer is any other.
    pub fn link_in(&self, reply: &Reply) -> Url {
        let error = reply.rpc_error();
        assert_eq!(error.code, CONSENT_REQUIRED, "{reply}");
        let text = error.data.as_str().unwrap_or(&error.message);
        let link = text.split_whitespace().find(|word| word.starts_with(&self.public_url));
        link.and_then(|link| link.parse().ok()).unwrap_or_else(|| panic!("a link: {reply}"))
    }

    /// From a refused call to the page that says what became of it; every provider is told yes.
    pub async fn consent(&self, person: &Browser, server: &Server) -> Page {
        let link = self.consent_link(person, server).await;
        self.sign_in(person).await;
        self.connect(person, &link).await
    }

    /// Presses the button behind a link, and says yes at the provider.
    pub async fn connect(&self, person: &Browser, link: &Url) -> Page {
        let page = person.get(link).await;
        let page = person.go_on(person.press(&page, "Connect").await).await;
        person.says_yes(page).await
    }

    /// Registers the gate's client at the real provider, with the one redirect URI that it has there.
    ///
    /// # Panics
    /// When the page behind the link leads to no provider.
    pub async fn admit(&self, client: &OAuth, idp: &Idp, person: &Browser, link: &Url) {
        self.sign_in(person).await;
        let begun = person.press(&person.get(link).await, "Connect").await;
        let there = begun.location().unwrap_or_else(|| panic!("a way to the provider: {begun:?}"));
        let redirect_uri = there.query_pairs().find(|(name, _)| name == "redirect_uri").expect("a redirect URI").1;
        idp.register_for_people(&client.client_id, &client.client_secret, &[&redirect_uri]).await;
    }

    /// Signs in a person whose token the gateway has seen.
    ///
    /// # Panics
    /// When it has not.
    pub async fn sign_in(&self, person: &Browser) {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the system has randomness");
        let mut database = self.broker.database().await;
        let signed_in = sqlx::query(
            "INSERT INTO sessions (hash, principal, signed_in_at, created_at, expires_at) \
             SELECT ?1, principal, issuer, ?2, ?2 + 3600000 FROM identities WHERE issuer = ?3 AND subject = ?4",
        )
        .bind(Sha256::digest(secret).to_vec())
        .bind(now_seconds() * 1000)
        .bind(&self.issuer.url)
        .bind(&person.login)
        .execute(&mut database)
        .await
        .expect("it can be written");
        assert_eq!(signed_in.rows_affected(), 1, "{} has not called yet", person.login);
        let gate = self.public_url.parse().expect("a URL");
        person.keep(&gate, SESSION, &URL_SAFE_NO_PAD.encode(secret));
    }
}

impl Browser {
    /// Signs in where that is asked for, and agrees to everything, at the real identity provider.
    async fn says_yes(&self, mut page: Page) -> Page {
        let password = format!("{}-password", self.login);
        let yes = [("decision", "yes"), ("login", self.login.as_str()), ("password", &password)];
        while page.url.path().starts_with("/interaction/") && page.status == 200 {
            page = self.go_on(self.post(&page.url, &yes).await).await;
        }
        page
    }
}
