//! The way itself, at our own provider and at the real one.

use e2e::{Auth, Browser, Idp, OAuth, Provider, World, run};
use std::sync::Arc;

#[test]
fn a_refused_call_leads_to_consent_and_then_works_as_the_person_who_gave_it() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        server.upstream.guarded_by(&provider);
        for login in ["alice", "bob"] {
            let person = Browser::of(login);
            let page = world.consent(&person, &server).await;
            assert!(page.status == 200 && page.text.contains("is connected"), "{page:?}");
            let reply = server.call_as(&world.token_of(&person, &server)).send().await;
            assert_eq!(reply.result()["holder"], login);
        }
        assert_eq!(provider.token_requests().len(), 2);
    });
}

#[test]
fn consent_at_the_real_provider_makes_calls_with_its_token() {
    run(async {
        let world = World::shared().await;
        let idp = Idp::start(world.dir()).await;
        let at = OAuth::at_idp(&idp);
        let auth = Auth::AuthorizationCode { at: at.clone(), scopes: vec!["mcp:tools".to_owned()] };
        let server = world.server().auth(auth).register().await;
        let alice = Browser::of("alice");
        let link = world.consent_link(&alice, &server).await;
        world.admit(&at, &idp, &alice, &link).await;
        let page = world.connect(&alice, &link).await;
        assert!(page.text.contains("is connected"), "{page:?}");
        let token = world.token_of(&alice, &server);
        let called_as = server.call_as(&token).send().await.called_as();
        assert!(called_as.len() == 1 && called_as != [format!("Bearer {token}")], "{called_as:?}");
    });
}
