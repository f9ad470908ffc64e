//! People's tokens: refreshed once for all who wait, kept through every outage, given up only when the provider says so
//! (threats L1, L2, L7, L9, O13). The loser of a race (L8) is tested at the refresher, which can be overtaken there.

use std::{sync::Arc, time::Duration};

use e2e::{Auth, Browser, Provider, Server, World, eventually};

#[path = "refresh/alone.rs"]
mod alone;
#[path = "refresh/by_hand.rs"]
mod by_hand;
#[path = "refresh/due.rs"]
mod due;
#[path = "refresh/ends.rs"]
mod ends;
#[path = "refresh/herd.rs"]
mod herd;
#[path = "refresh/killed.rs"]
mod killed;
#[path = "refresh/late.rs"]
mod late;
#[path = "refresh/outages.rs"]
mod outages;
#[path = "refresh/rejected.rs"]
mod rejected;

/// How long a token lives that a test waits for to be over.
const BRIEF: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

/// A provider with strict rotation, and a server that alice has consented to.
async fn connected(world: &World, kind: &'static str, life: Duration) -> (Arc<Provider>, Server) {
    let provider = Arc::new(Provider::start().await);
    let server = guarded(world, &provider, kind).await;
    consents(world, &provider, &server, life).await;
    (provider, server)
}

/// A server that serves whoever has an account at this provider, which the gate takes for one of this kind.
async fn guarded(world: &World, provider: &Arc<Provider>, kind: &'static str) -> Server {
    let server = world.server().auth(Auth::authorization_code(provider));
    let server = server.manifest(move |server| server["auth_data"]["provider"] = kind.into()).register().await;
    server.upstream.guarded_by(provider);
    server
}

/// Alice consents; her first token lives this long, every later one long.
async fn consents(world: &World, provider: &Provider, server: &Server, life: Duration) {
    provider.access_token_life(life);
    world.consent(&Browser::of("alice"), server).await;
    provider.access_token_life(LONG);
}

/// Waits until alice's first token is over.
async fn expired(provider: &Provider) {
    let first = provider.issued().first().cloned().expect("she has consented");
    eventually("the first token is over", async || (!provider.is_live(&first)).then_some(())).await;
}

/// How often the provider was asked for another token.
fn refreshes(provider: &Provider) -> usize {
    provider.token_requests_by("refresh_token").len()
}
