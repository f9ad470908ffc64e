//! People who call on and on, and what became of each.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    drive::{LIFE, MODES, Mode, PAUSE, TAKES, millis},
    history::{Grant, Refresh, Release, Served, Verdict},
};
use crate::{
    Browser, Call, Reply, World,
    provider::{Endpoint, Fault, Moment, Outcome, Revoked, Rotation},
};

/// Once everything is well again, until nobody can be waited for any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who calls on and on.
pub(super) struct Person {
    pub(super) name: String,
    /// By number.
    pub(super) mode: usize,
    call: Call,
    served: Mutex<Vec<Served>>,
    /// Calls of theirs that were told to come again.
    pub(super) refused: AtomicUsize,
}

/// They have consented, and each one's token is over.
pub(super) async fn people(world: &World, modes: &[Mode], each: usize) -> Vec<Person> {
    let mut people = Vec::new();
    for (number, mode) in modes.iter().enumerate() {
        for _ in 0..each {
            let name = crate::unique("person");
            let page = world.consent(&Browser::of(&name), &mode.server).await;
            assert!(page.text.contains(" is connected."), "{page:?}");
            let call = mode.server.call_as(&world.issuer.token(&name, &mode.server).mint());
            people.push(Person { name, mode: number, call, served: Mutex::default(), refused: AtomicUsize::new(0) });
        }
        mode.provider.access_token_life(LIFE);
        mode.provider.fail(Endpoint::Token, Fault::Delay(Moment::AfterProcessBeforeReply, TAKES));
    }
    let over = "UPDATE grants SET issued_at = 1, refresh_after = 2, expires_at = 3";
    world.broker.database().await.execute(over, &[]).await;
    people
}

impl Person {
    /// What came of each use of the last refresh token of theirs that was used.
    pub(super) fn last_uses(&self, mode: &Mode, started: Instant) -> Vec<String> {
        let family = mode.provider.family_of(&self.name).expect("they have consented");
        let requests = mode.provider.token_requests_by("refresh_token");
        let presented = |token: &String| {
            let uses =
                requests.iter().filter(|request| request.form.get("refresh_token") == Some(token)).map(|request| {
                    let at = request.at.saturating_duration_since(started).as_secs_f64();
                    let what = match request.outcome {
                        Outcome::Refused(_) => "refused",
                        Outcome::Issued { .. } | Outcome::NotProcessed if request.withheld => "withheld",
                        Outcome::Issued { .. } | Outcome::NotProcessed if request.answered.is_some() => "answered",
                        Outcome::Issued { .. } | Outcome::NotProcessed => "nobody listened any more",
                    };
                    format!("{at:.2} s: {what}")
                });
            uses.collect::<Vec<_>>()
        };
        family.refresh_tokens.iter().rev().map(presented).find(|uses| !uses.is_empty()).unwrap_or_default()
    }

    /// Calls until told to stop.
    pub(super) async fn calls(&self, started: Instant, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            match self.call.try_send().await.ok().and_then(|reply| token(&reply)) {
                Some(token) => self.serve(started, token),
                None => drop(self.refused.fetch_add(1, Ordering::Relaxed)),
            }
            // Ends early when it is over.
            let _ = tokio::time::timeout(PAUSE, stopped.changed()).await;
        }
    }

    fn serve(&self, started: Instant, token: String) {
        self.served.lock().expect("no holder panics").push(Served { at: millis(started.elapsed()), token });
    }

    /// What they are told when everything is well: by a token that was issued since, or not at all.
    pub(super) async fn verdict(&self, mode: &Mode, started: Instant) -> Verdict {
        let old = mode.provider.family_of(&self.name).expect("they have consented").access_tokens;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Ok(reply) = self.call.try_send().await {
                if let Some(token) = token(&reply) {
                    let is_new = !old.contains(&token);
                    self.serve(started, token);
                    if is_new {
                        return Verdict::Lives;
                    }
                } else if serde_json::from_slice::<serde_json::Value>(&reply.body)
                    .is_ok_and(|body| body["error"]["code"] == -31001)
                {
                    return Verdict::AsksForConsent;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Verdict::Silent
    }

    /// Their grant, as it was seen.
    pub(super) fn grant(
        &self,
        mode: &Mode,
        started: Instant,
        generations: Vec<u64>,
        releases: Vec<Release>,
        verdict: Verdict,
    ) -> Grant {
        let family = mode.provider.family_of(&self.name).expect("they have consented");
        let token = |presented: &str| family.refresh_tokens.iter().position(|token| token == presented);
        let requests = mode.provider.token_requests_by("refresh_token");
        let own = requests.iter().filter_map(|request| Some((request, token(request.form.get("refresh_token")?)?)));
        let mut uses = vec![0; family.refresh_tokens.len()];
        let mut refreshes = Vec::new();
        for (request, token) in own {
            uses[token] += 1;
            if !matches!(request.outcome, Outcome::Refused(_)) {
                let arrived = request.at.saturating_duration_since(started);
                let took = request.answered.map_or(TAKES, |answered| answered.after);
                let (at, answered) = (millis(arrived), millis(arrived + took));
                refreshes.push(Refresh { at, answered, withheld: request.withheld, token });
            }
        }
        let (_, rotation, _, bears) = MODES[self.mode];
        Grant {
            person: self.name.clone(),
            server: mode.server.name.clone(),
            bears,
            reuse_ends_it: rotation == Rotation::FamilyRevoke,
            issued: family.access_tokens.clone(),
            refreshes,
            uses,
            ended_for_reuse: family.revoked == Some(Revoked::Reuse),
            served: self.served.lock().expect("no holder panics").clone(),
            releases,
            generations,
            verdict,
        }
    }
}

/// What the upstream was called with, if it was called.
fn token(reply: &Reply) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&reply.body).ok()?;
    body["result"]["called_as"][0].as_str()?.strip_prefix("Bearer ").map(str::to_owned)
}
