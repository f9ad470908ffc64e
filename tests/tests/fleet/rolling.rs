//! Brokers started anew one after the other, as for a new version, while people call.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Instant,
};

use e2e::{Issuer, run, unique};
use futures::future::join_all;

use super::*;

const CALLERS: usize = 6;

/// Somebody new calls, and somebody new after them: nothing that they need is in any cache.
async fn calls_on(issuer: &Issuer, server: &Server, over: &AtomicBool, calls: &AtomicUsize) -> Vec<String> {
    let mut failed = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let reply = server.call_as(&issuer.token(&unique("caller"), server).mint()).send().await;
        calls.fetch_add(1, Ordering::Relaxed);
        if reply.status != 200 || reply.json().get("result").is_none() {
            failed.push(reply.to_string());
        }
    }
    failed
}

#[test]
fn a_rolling_restart_of_brokers_fails_no_call() {
    run(async {
        let mut world = World::build().brokers(BROKERS).key_file().start().await;
        let server = world.server().auth(Auth::header()).apply().await;
        world.others_read_manifests().await;
        server.until_served().await;
        let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (issuer, first, others) = (&world.issuer, &mut world.broker, &mut world.others);
        let restarts = async {
            let started = Instant::now();
            for broker in std::iter::once(first).chain(others) {
                let before = calls.load(Ordering::Relaxed);
                broker.stop().await;
                broker.start().await;
                e2e::eventually("people go on calling", async || {
                    (calls.load(Ordering::Relaxed) > before + 20).then_some(())
                })
                .await;
            }
            over.store(true, Ordering::Relaxed);
            started.elapsed()
        };
        let calling = join_all((0..CALLERS).map(|_| calls_on(issuer, &server, &over, &calls)));
        let (took, failed) = tokio::join!(restarts, calling);
        let failed: Vec<_> = failed.into_iter().flatten().collect();
        println!("{} calls in {took:?}, {} failed", calls.load(Ordering::Relaxed), failed.len());
        assert!(failed.is_empty(), "{} of {}: {:#?}", failed.len(), calls.load(Ordering::Relaxed), failed.first());
    });
}
