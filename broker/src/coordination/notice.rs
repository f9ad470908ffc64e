//! Notices: that the store has something new, or that a lease was given back. A forged one can only make a broker look.

use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::Counter;

/// Releases that a waiting refresh may be behind before it looks without being told.
const BEHIND: usize = 256;

/// Between two looks for one kind of news, however many notices come.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest notice that is read.
const MAX_LENGTH: usize = 160;

/// What there can be news of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Generations of grants that nobody uses any more.
    Ended,
    /// Manifests, and values of secrets.
    Policy,
    /// Refreshes that end the old access token at once: begun, or come to nothing.
    Refreshing,
    /// Tokens of the broker's own that were revoked.
    Revoked,
}

impl News {
    const ALL: [Self; 4] = [Self::Ended, Self::Policy, Self::Refreshing, Self::Revoked];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Policy => "policy",
            Self::Refreshing => "refreshing",
            Self::Revoked => "revoked",
        }
    }
}

/// One message on the channel: `1 <sender> <kind>[ <lease>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// There is news, says a broker other than us.
    News(News),
    /// A lease was given back.
    Released(String),
}

impl Notice {
    pub(super) fn text(sender: &str, news: News) -> String {
        format!("1 {sender} {}", news.name())
    }

    /// A release begins with this; the lease follows.
    pub(super) fn of_release(sender: &str, lease: &str) -> String {
        format!("1 {sender} released {lease}")
    }

    /// What a message says, if it is one: news of our own are none.
    pub(super) fn read(payload: &[u8], own: &str) -> Option<Self> {
        let text = std::str::from_utf8(payload.get(..payload.len().min(MAX_LENGTH + 1))?).ok()?;
        if text.len() > MAX_LENGTH {
            return None;
        }
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["1", _, "released", lease] => Some(Self::Released((*lease).to_owned())),
            ["1", sender, kind] if *sender != own => {
                News::ALL.into_iter().find(|news| news.name() == *kind).map(Self::News)
            }
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::News(news) => news.name(),
            Self::Released(_) => "released",
        }
    }
}

/// What was heard, for whoever waits for it.
pub(super) struct Heard {
    ended: watch::Sender<u64>,
    policy: watch::Sender<u64>,
    refreshing: watch::Sender<u64>,
    revoked: watch::Sender<u64>,
    released: broadcast::Sender<String>,
}

impl Default for Heard {
    fn default() -> Self {
        let counter = || watch::Sender::new(0);
        let (ended, policy, refreshing, revoked) = (counter(), counter(), counter(), counter());
        Self { ended, policy, refreshing, revoked, released: broadcast::Sender::new(BEHIND) }
    }
}

impl Heard {
    pub(super) fn hear(&self, notice: Notice) {
        match notice {
            Notice::News(news) => self.sender(news).send_modify(|count| *count = count.wrapping_add(1)),
            Notice::Released(lease) => {
                // Nobody waits for it, mostly.
                let _ = self.released.send(lease);
            }
        }
    }

    /// There may be news of everything: notices were missed.
    pub(super) fn hear_all(&self) {
        News::ALL.into_iter().for_each(|news| self.hear(Notice::News(news)));
    }

    pub(super) fn of(&self, news: News) -> Counter {
        self.sender(news).subscribe()
    }

    pub(super) fn released(&self) -> broadcast::Receiver<String> {
        self.released.subscribe()
    }

    fn sender(&self, news: News) -> &watch::Sender<u64> {
        match news {
            News::Ended => &self.ended,
            News::Policy => &self.policy,
            News::Refreshing => &self.refreshing,
            News::Revoked => &self.revoked,
        }
    }
}

/// When to look at the store.
pub struct Looks {
    heard: Counter,
    ticks: Interval,
    earliest: Instant,
}

impl Looks {
    pub(super) fn new(heard: Counter, every: Duration) -> Self {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { heard, ticks, earliest: Instant::now() }
    }

    /// Returns when to look; at once the first time. Notices that come while nobody waits count as one.
    pub async fn next(&mut self) {
        tokio::time::sleep_until(self.earliest).await;
        tokio::select! {
            _ = self.ticks.tick() => {}
            // Whoever tells lives as long as the coordination; without it there is the time.
            Ok(()) = self.heard.changed() => {}
        }
        self.heard.mark_unchanged();
        self.earliest = Instant::now() + PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_other_brokers_say_is_news_and_all_else_is_nothing() {
        let read = |text: &str| Notice::read(text.as_bytes(), "me");
        for news in News::ALL {
            assert_eq!(read(&Notice::text("other", news)), Some(Notice::News(news)));
            assert_eq!(read(&Notice::text("me", news)), None);
        }
        assert_eq!(read(&Notice::of_release("me", "k")), Some(Notice::Released("k".to_owned())));
        for garbage in ["", "1", "1 x", "2 x ended", "1 x ended more", "1 x ENDED", "1  ended x", "{\"a\":1}", "\n"] {
            assert_eq!(read(garbage), None, "{garbage:?}");
        }
        assert_eq!(read(&format!("1 x released {}", "k".repeat(MAX_LENGTH))), None);
        for bytes in [&[0xff; 8][..], &[0; 1024], "1 x released é".as_bytes().split_at(14).0] {
            assert_eq!(Notice::read(bytes, "me"), None, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_thousand_notices_at_once_are_one_look_and_none_is_lost() {
        let heard = Heard::default();
        let mut looks = Looks::new(heard.of(News::Policy), Duration::from_secs(3600));
        looks.next().await;
        let mut count = 0;
        let until = Instant::now() + PAUSE * 20;
        for _ in 0..1_000 {
            heard.hear(Notice::News(News::Policy));
        }
        while tokio::time::timeout_at(until, looks.next()).await.is_ok() {
            count += 1;
        }
        assert_eq!(count, 1);
        heard.hear(Notice::News(News::Ended));
        assert!(tokio::time::timeout(PAUSE * 2, looks.next()).await.is_err(), "of another kind");
    }
}
