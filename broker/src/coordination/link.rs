//! The link to Redis, and the breaker in it: what does not answer in time is left alone until it answers a probe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, cmd};
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::lease::Entry;
use super::notice::{Heard, News, Notice};
use super::{Address, PATIENCE};
use crate::keys::hex;
use crate::secret::Secret;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// Between two probes of a link that seems well.
const PROBE: Duration = Duration::from_secs(1);

/// News that wait to be told; what is more is found without.
const WAITING: usize = 64;

/// What becomes of brokers that skip it.
pub(super) const WITHOUT: &str = "Everything works: brokers find by the store within two seconds what others did, and may \
     contend for a refresh, which the store decides";

/// The link.
pub(super) struct Link {
    pub(super) address: Arc<Address>,
    channel: String,
    /// Names this start of this broker in what it tells.
    sender: String,
    state: watch::Sender<State>,
    outbox: mpsc::Sender<News>,
    inbox: Mutex<mpsc::Receiver<News>>,
    echo: Notify,
}

enum State {
    Up { connection: Connection, number: u64 },
    Down { why: String, since: Instant, is_told: bool },
}

#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::Server(server) => command.query_async(server).await,
            Self::Cluster(cluster) => command.query_async(cluster).await,
        }
    }
}

impl Link {
    pub(super) fn new(address: impl Into<Arc<Address>>, channel: String) -> Self {
        let why = "it has not been reached yet".to_owned();
        let state = watch::Sender::new(State::Down { why, since: Instant::now(), is_told: false });
        let (outbox, inbox) = mpsc::channel(WAITING);
        // Random, so that no two starts take each other's notices for their own; no secret.
        let sender = hex(Secret::random::<8>().expose());
        Self { address: address.into(), channel, sender, state, outbox, inbox: Mutex::new(inbox), echo: Notify::new() }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn sender(&self) -> &str {
        &self.sender
    }

    #[cfg(test)]
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up { .. })
    }

    pub(super) fn degraded(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Up { .. } => None,
            State::Down { why, since, .. } => {
                Some(format!("{} is not used since {} s: {why}. {WITHOUT}", self.address, since.elapsed().as_secs()))
            }
        }
    }

    pub(super) fn tell(&self, news: News) {
        // Others find it without, when too much of it waits.
        let _ = self.outbox.try_send(news);
    }

    /// Asks, unless Redis is skipped; from an answer that does not come, or is an error, it is.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        let (mut connection, number) = match &*self.state.borrow() {
            State::Up { connection, number } => (connection.clone(), *number),
            State::Down { .. } => return None,
        };
        let why = match tokio::time::timeout(PATIENCE, connection.ask(command)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => words(&error),
            Err(_) => format!("no answer within {} ms", PATIENCE.as_millis()),
        };
        self.lost(Some(number), why);
        None
    }

    /// Keeps the link until `stop`.
    pub(super) async fn run(&self, heard: &Heard, stop: &CancellationToken) {
        metrics::gauge!("sallyport_coordination_up").set(0.0);
        let mut inbox = self.inbox.lock().await;
        for number in 1.. {
            let kept = stop.run_until_cancelled(self.keep(number, heard, &mut inbox)).await;
            let Some(why) = kept else { return };
            self.lost(None, why);
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }

    /// Makes the link and keeps it until it is lost; answers why.
    async fn keep(&self, number: u64, heard: &Heard, inbox: &mut mpsc::Receiver<News>) -> String {
        let (connection, notices) = match self.reach().await {
            Ok(connected) => connected,
            Err(why) => return why,
        };
        self.found(connection, number);
        // What was told while there was no link was missed.
        heard.hear_all();
        let mut state = self.state.subscribe();
        tokio::select! {
            why = self.hear(notices, heard) => why,
            why = self.probe() => why,
            () = self.publish(inbox) => String::new(),
            // Whoever lost it has said why.
            _ = state.wait_for(|state| matches!(state, State::Down { .. })) => String::new(),
        }
    }

    async fn hear(&self, notices: PubSub, heard: &Heard) -> String {
        let mut notices = notices.into_on_message();
        let own = self.probed().key;
        while let Some(message) = notices.next().await {
            let notice = Notice::read(message.get_payload_bytes(), &self.sender);
            let kind = notice.as_ref().map_or("other", Notice::kind);
            match notice {
                Some(Notice::Released(key)) if key == own => {
                    self.echo.notify_one();
                    continue;
                }
                Some(notice) => heard.hear(notice),
                // Our own, or nothing that a broker says: it changes nothing.
                None => {}
            }
            metrics::counter!("sallyport_notices_total", "kind" => kind).increment(1);
        }
        "it ended the subscription".to_owned()
    }

    async fn publish(&self, inbox: &mut mpsc::Receiver<News>) {
        while let Some(news) = inbox.recv().await {
            let mut publish = cmd("PUBLISH");
            publish.arg(&self.channel).arg(Notice::text(&self.sender, news));
            // A failure ends this link, and another broker finds it without.
            let _ = self.ask::<u64>(&publish).await;
        }
    }

    /// Does all that a lease takes, and waits to hear of it.
    async fn probe(&self) -> String {
        loop {
            let entry = self.probed();
            self.ask::<Option<String>>(&entry.take()).await;
            self.ask::<u64>(&entry.release(self)).await;
            if tokio::time::timeout(PATIENCE, self.echo.notified()).await.is_err() {
                return "what is published does not come back".to_owned();
            }
            tokio::time::sleep(PROBE).await;
        }
    }

    pub(super) fn probed(&self) -> Entry {
        Entry { key: format!("sallyport:probe:{}", self.sender), owner: self.sender.clone() }
    }

    fn found(&self, connection: Connection, number: u64) {
        let before = self.state.send_replace(State::Up { connection, number });
        metrics::gauge!("sallyport_coordination_up").set(1.0);
        if let State::Down { since, .. } = before {
            tracing::info!(redis = %self.address, after_s = since.elapsed().as_secs(), "brokers coordinate through Redis");
        }
    }

    /// The link of this number is lost, or whichever there is; told once, whatever follows until there is one again.
    fn lost(&self, number: Option<u64>, why: String) {
        let mut is_news = false;
        self.state.send_if_modified(|state| match state {
            State::Up { number: there, .. } if number.is_none_or(|number| number == *there) => {
                is_news = true;
                *state = State::Down { why: why.clone(), since: Instant::now(), is_told: true };
                true
            }
            State::Up { .. } => false,
            State::Down { why: known, is_told, .. } => {
                is_news = !*is_told;
                *is_told = true;
                if !why.is_empty() {
                    known.clone_from(&why);
                }
                false
            }
        });
        if is_news {
            metrics::gauge!("sallyport_coordination_up").set(0.0);
            metrics::counter!("sallyport_coordination_lost_total").increment(1);
            tracing::warn!(redis = %self.address, why, "Redis is skipped until it answers; nothing depends on it");
        }
    }
}

const NOPERM: &str = "its user may not do what coordination takes (NOPERM)";

/// For people. What a server says beyond its error's code is left out: it could be anything (I9).
pub(super) fn words(error: &RedisError) -> String {
    let code = error.code().filter(|code| code.len() <= 24 && code.bytes().all(|byte| byte.is_ascii_uppercase()));
    match (error.kind(), code) {
        (ErrorKind::AuthenticationFailed, _) => "it refuses user or password".to_owned(),
        // Of the system, or of TLS.
        (ErrorKind::Io, _) => error.to_string(),
        (_, Some("NOAUTH" | "WRONGPASS")) => "it wants another user or password".to_owned(),
        (_, Some("NOPERM")) => NOPERM.to_owned(),
        // Of what a script calls.
        (_, Some("ERR")) if error.detail().is_some_and(|said| said.contains("The user executing the script")) => {
            NOPERM.to_owned()
        }
        (_, Some(code)) => format!("it answers {code}"),
        (_, None) => error.category().to_owned(),
    }
}
