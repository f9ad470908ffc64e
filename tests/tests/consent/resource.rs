//! The resource that access is for (RFC 8707): named in every request to the provider where the manifest says so, else in none.

use std::time::Duration;

use e2e::{Browser, eventually, provider::Form, run};

use crate::{Auth, Notes, Provider, World};
use std::sync::Arc;

const BRIEF: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

/// From consent to the first renewal.
const EVERY_REQUEST: [&str; 3] = ["authorization", "authorization_code", "refresh_token"];

impl Notes {
    /// Notes whose manifest does, or does not, say `include_resource`.
    async fn with_resource(included: Option<bool>) -> Self {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::authorization_code(&provider)).manifest(move |server| {
            if let Some(included) = included {
                server["auth_data"]["include_resource"] = included.into();
            }
        });
        let server = server.register().await;
        server.upstream.guarded_by(&provider);
        Self { world, provider, server }
    }

    /// Waits until this token is over.
    async fn is_over(&self, first: &str) {
        eventually("the first token is over", async || (!self.provider.is_live(first)).then_some(())).await;
    }

    /// What each request so far named as resource, those at the authorization endpoint first.
    fn named(&self) -> Vec<(String, Vec<String>)> {
        let resources = |form: &Form| form.all("resource").into_iter().map(str::to_owned).collect();
        let (authorizations, tokens) = (self.provider.authorizations(), self.provider.token_requests());
        let authorizations = authorizations.iter().map(|asked| ("authorization".to_owned(), resources(asked)));
        let tokens = tokens.iter().map(|asked| (asked.grant_type().to_owned(), resources(&asked.form)));
        authorizations.chain(tokens).collect()
    }

    /// Consents, and calls again when the first token is over.
    async fn consent_and_refresh(&self, person: &Browser, link: &url::Url) {
        self.provider.access_token_life(BRIEF);
        let page = self.world.connect(person, link).await;
        assert!(page.text.contains("is connected"), "{page:?}");
        self.provider.access_token_life(LONG);
        self.is_over(&self.provider.issued()[0]).await;
        assert!(self.is_connected(person).await);
    }
}

#[test]
fn include_resource_names_the_server_in_the_authorization_the_exchange_and_every_refresh() {
    run(async {
        let notes = Notes::with_resource(Some(true)).await;
        // As the manifest writes it: the server at its own address, not the gate's.
        let resource = vec![notes.server.upstream.url.clone()];
        notes.provider.demand_resource(Some(&resource[0]));
        let (alice, link) = notes.caller("alice").await;
        notes.consent_and_refresh(&alice, &link).await;
        assert_eq!(notes.named(), EVERY_REQUEST.map(|by| (by.to_owned(), resource.clone())));
    });
}

#[test]
fn no_request_names_a_resource_where_the_manifest_does_not_ask_for_it() {
    run(async {
        for included in [None, Some(false)] {
            let notes = Notes::with_resource(included).await;
            let (alice, link) = notes.caller("alice").await;
            notes.consent_and_refresh(&alice, &link).await;
            assert_eq!(notes.named(), EVERY_REQUEST.map(|by| (by.to_owned(), Vec::new())), "{included:?}");
        }
    });
}

/// A resource that nobody here names.
const ELSEWHERE: Option<&str> = Some("https://elsewhere.example/mcp");

#[test]
fn a_provider_that_gives_no_access_to_the_resource_says_so_to_the_person_and_nothing_is_stored() {
    run(async {
        let notes = Notes::with_resource(Some(true)).await;
        let (alice, link) = notes.caller("alice").await;
        notes.provider.demand_resource(ELSEWHERE);
        let page = notes.world.connect(&alice, &link).await;
        assert!(page.text.contains("gives no access to this server"), "{page:?}");
        notes.assert_nothing_stored(&[&alice]).await;
        // It changes its mind between the two requests.
        notes.provider.demand_resource(None);
        let begun = alice.press(&alice.get(&link).await, "Connect").await;
        let answer = alice.get(&begun.location().expect("a way to the provider")).await;
        notes.provider.demand_resource(ELSEWHERE);
        let page = alice.go_on(answer).await;
        assert!(page.text.contains("does not accept this gateway as it is configured"), "{page:?}");
        assert!(notes.provider.issued().is_empty() && !notes.is_connected(&alice).await);
        notes.provider.demand_resource(None);
        let again = alice.go_on(alice.press(&page, "Start again").await).await;
        assert!(again.text.contains("is connected"), "{again:?}");
    });
}

#[test]
fn a_refresh_that_is_refused_for_its_resource_ends_no_grant() {
    run(async {
        let notes = Notes::with_resource(Some(true)).await;
        let (alice, link) = notes.caller("alice").await;
        notes.provider.access_token_life(BRIEF);
        assert!(notes.world.connect(&alice, &link).await.text.contains("is connected"));
        notes.provider.access_token_life(LONG);
        notes.provider.demand_resource(ELSEWHERE);
        notes.is_over(&notes.provider.issued()[0]).await;
        let call = notes.server.call_as(&notes.world.token_of(&alice, &notes.server));
        let reply = call.send().await;
        let error = reply.rpc_error();
        assert_eq!(
            (error.code, &error.data["reason"]),
            (-31005, &"credential_refused".into()),
            "nobody is asked: {reply}"
        );
        notes.provider.demand_resource(None);
        eventually("the grant serves again", async || call.send().await.json().get("result").map(drop)).await;
        assert_eq!((notes.provider.families().len(), notes.provider.was_family_revoked()), (1, false));
    });
}
