//! Credentials for AWS, fetched apart from what they are for: a slow fetch does not use up the time of the request that
//! happens to need it, and is not begun anew by the next one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::watch;

/// For one fetch, from wherever they come: an instance's own service may take several attempts.
const FETCH: Duration = Duration::from_secs(15);
/// Those that expire within this are not used any more.
const MARGIN: Duration = Duration::from_secs(20);
/// Those that expire within this are renewed while they are used on.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// Keeps what another provider gives.
#[derive(Clone, Debug)]
pub(super) struct Kept(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: SharedCredentialsProvider,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Credentials>,
    /// The end of a fetch that is under way: why it came to nothing, if it did.
    fetching: Option<watch::Receiver<Option<Result<(), String>>>>,
}

impl Kept {
    pub(super) fn of(source: SharedCredentialsProvider) -> Self {
        Self(Arc::new(Inner { source, state: Mutex::default() }))
    }

    pub(super) async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let (held, mut fetching) = {
            let mut state = self.state();
            let held = state.held.clone().filter(|held| lasts(held, MARGIN));
            match &held {
                Some(held) if lasts(held, EARLY) => return Ok(held.clone()),
                Some(_) | None => {}
            }
            (held, self.fetch(&mut state))
        };
        if let Some(held) = held {
            return Ok(held);
        }
        let done = fetching.wait_for(Option::is_some).await.map(|done| done.clone()).unwrap_or_default();
        match (done, self.state().held.clone()) {
            (Some(Ok(())), Some(held)) => Ok(held),
            (Some(Err(why)), _) => Err(CredentialsError::provider_error(why)),
            (Some(Ok(())) | None, _) => Err(CredentialsError::provider_error("they were not fetched")),
        }
    }

    /// Joins the fetch that is under way, or begins one, which nobody's deadline ends.
    fn fetch(&self, state: &mut State) -> watch::Receiver<Option<Result<(), String>>> {
        if let Some(fetching) = &state.fetching {
            return fetching.clone();
        }
        let (done, fetching) = watch::channel(None);
        state.fetching = Some(fetching.clone());
        let kept = self.clone();
        tokio::spawn(async move {
            let fetched = tokio::time::timeout(FETCH, kept.0.source.provide_credentials()).await;
            let ended = {
                let mut state = kept.state();
                state.fetching = None;
                match fetched {
                    Ok(Ok(credentials)) => {
                        state.held = Some(credentials);
                        Ok(())
                    }
                    Ok(Err(error)) => Err(crate::causes::told(&error)),
                    Err(_) => Err(format!("there were none within {} seconds", FETCH.as_secs())),
                }
            };
            done.send_replace(Some(ended));
        });
        fetching
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

fn lasts(credentials: &Credentials, time: Duration) -> bool {
    credentials.expiry().is_none_or(|expiry| expiry > SystemTime::now() + time)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers once it may, with credentials that last so long.
    #[derive(Debug)]
    struct Slow(Arc<AtomicUsize>, watch::Receiver<bool>, Duration);

    impl ProvideCredentials for Slow {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                self.0.fetch_add(1, Ordering::SeqCst);
                let _ = self.1.clone().wait_for(|may| *may).await;
                Ok(Credentials::new("id", "secret", None, Some(SystemTime::now() + self.2), "test"))
            })
        }
    }

    fn slow(lasting: Duration) -> (Kept, Arc<AtomicUsize>, watch::Sender<bool>) {
        let (fetches, (may, waits)) = (Arc::new(AtomicUsize::new(0)), watch::channel(false));
        let source = Slow(Arc::clone(&fetches), waits, lasting);
        (Kept::of(SharedCredentialsProvider::new(source)), fetches, may)
    }

    #[tokio::test]
    async fn v4_a_fetch_outlives_the_request_that_began_it_and_the_next_one_joins_it() {
        let (kept, fetches, may) = slow(Duration::from_secs(3600));
        for _ in 0..2 {
            let cut_off = tokio::time::timeout(Duration::from_millis(20), kept.credentials()).await;
            assert!(cut_off.is_err(), "too slow for a request's own deadline");
        }
        may.send_replace(true);
        assert_eq!(kept.credentials().await.unwrap().access_key_id(), "id");
        kept.credentials().await.unwrap();
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_is_about_to_expire_is_used_on_while_it_is_renewed() {
        let (kept, fetches, may) = slow(Duration::from_secs(60));
        may.send_replace(true);
        kept.credentials().await.unwrap();
        may.send_replace(false);
        let at_once = tokio::time::timeout(Duration::from_secs(10), kept.credentials()).await;
        assert!(at_once.unwrap().is_ok(), "nobody waits for the next ones");
        while fetches.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    }
}
