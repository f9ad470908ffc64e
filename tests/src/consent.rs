//! A person's way from a refused call to a grant, by the pages themselves and without a window.

use std::sync::Arc;

use serde_json::Value;
use url::Url;

use crate::{Auth, Browser, Idp, OAuth, Page, Provider, Reply, Server, ServerBuilder, World};

/// The cookie of a signed-in browser.
pub(crate) const SESSION: &str = "__Host-sallyport-session";

/// The code of "you must consent first".
const CONSENT_REQUIRED: i64 = -31001;

impl World {
    /// Two servers of one client at a provider, with the one secret that they must share: so they share each person's grant.
    pub async fn two_servers_at(&self, provider: &Arc<Provider>) -> Vec<Server> {
        let builders = [self.server(), self.server()];
        let groups = builders.each_ref().map(ServerBuilder::group_name);
        let owners = groups.each_ref().map(String::as_str);
        let secret = self.broker.share_secret(&groups[0], "shared", &provider.client_secret, &owners).await;
        let mut servers = Vec::new();
        for builder in builders {
            let secret = secret.clone();
            let shared = move |integration: &mut Value| integration["auth_data"]["client_secret"] = secret.into();
            servers.push(builder.auth(Auth::authorization_code(provider)).manifest(shared).register().await);
        }
        servers
    }

    /// This person's token for a server.
    pub fn token_of(&self, person: &Browser, server: &Server) -> String {
        self.issuer.token(&person.login, server).mint()
    }

    /// The link that a call of this person is refused with.
    ///
    /// # Panics
    /// When the call gets another answer.
    pub async fn consent_link(&self, person: &Browser, server: &Server) -> Url {
        server.consent_link(&self.token_of(person, server)).await
    }

    /// The link that a refused call was answered with.
    ///
    /// # Panics
    /// When the answer is any other.
    pub fn link_in(&self, reply: &Reply) -> Url {
        let link = link(reply);
        assert_eq!(link.origin().ascii_serialization(), self.public_url, "{reply}");
        link
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

    /// Signs this person in by a link from the operator, which is answered, used up.
    ///
    /// # Panics
    /// When their browser is not signed in then.
    pub async fn sign_in(&self, person: &Browser) -> Url {
        let address = format!("{}@example.com", person.login);
        let said = self.broker.command(&["signin", "--user", &address]).await.ok();
        let link: Url = said.trim().parse().expect("a link");
        let page = person.get(&link).await;
        let page = person.press(&page, &format!("Sign in as {address}")).await;
        assert!(page.status == 303 && person.has_cookie(&link, SESSION), "{page:?}");
        link
    }
}

impl Server {
    /// The link that a call with this token is refused with.
    ///
    /// # Panics
    /// When the call gets another answer.
    pub async fn consent_link(&self, token: &str) -> Url {
        link(&self.call_as(token).send().await)
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

/// Where deployed agents look for it.
fn link(reply: &Reply) -> Url {
    let error = reply.rpc_error();
    assert_eq!((reply.status, error.code), (200, CONSENT_REQUIRED), "{reply}");
    let data = error.data.as_str().unwrap_or_else(|| panic!("a string: {reply}"));
    let (_, link) = data.split_once("Please visit: ").unwrap_or_else(|| panic!("the marker: {reply}"));
    link.parse().unwrap_or_else(|error| panic!("{error}: {reply}"))
}
