//! A gate of its own, whose broker is measured by the filter's API: one server that people consent to, and many who have.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use e2e::{Auth, Broker, Browser, Kms, Program, Provider, Server, World, acquire, broker_api, eventually};
use sallyport_proto::broker::{
    AcquireCredentialRequest, Credential, Timings, acquire_credential_response::Answer, broker_client::BrokerClient,
};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::cores;

/// How often a credential is asked for that is not released for the time being.
const PATIENCE: usize = 20;

/// Where a broker keeps everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// A file, with the master key in another.
    Sqlite,
    /// A database, with Redis beside it and the master key in AWS KMS, as moto plays it.
    Postgres,
}

/// The gate.
pub(crate) struct Site {
    /// Issuer, broker, proxy.
    pub(crate) world: World,
    /// Where people consent.
    pub(crate) provider: Provider,
    /// The server that they consent to.
    pub(crate) server: Server,
    /// Where the master key is.
    pub(crate) kms: Option<Kms>,
    /// Of nobody else.
    core: usize,
    _kms_directory: TempDir,
}

/// The filter's API of one broker, as one proxy calls it.
#[derive(Clone)]
pub(crate) struct Api {
    client: BrokerClient<Channel>,
    request: AcquireCredentialRequest,
}

impl Site {
    /// Starts it, with the broker on a core of its own; alice has consented.
    ///
    /// # Errors
    /// When the broker cannot be bound to its core.
    pub(crate) async fn start(store: Store, program: Program, core: usize) -> Result<Self> {
        let directory = TempDir::new()?;
        let (world, kms) = match store {
            Store::Sqlite => (World::build().embedded().program(program).start().await, None),
            Store::Postgres => {
                let kms = Kms::start(directory.path()).await;
                let builder = World::build().key_file().brokers(1).broker(kms.is_the_key());
                (builder.program(program).start().await, Some(kms))
            }
        };
        let provider = Provider::start().await;
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        world.consent(&Browser::of("alice"), &server).await;
        cores::pin(world.broker.child().pid(), core)?;
        Ok(Self { world, provider, server, kms, core, _kms_directory: directory })
    }

    /// Stops the broker.
    pub(crate) async fn stop(&mut self) {
        self.world.broker.stop().await;
    }

    /// Starts it again: with nothing in memory.
    ///
    /// # Errors
    /// When it cannot be bound to its core.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        self.world.broker.start().await;
        cores::pin(self.world.broker.child().pid(), self.core)
    }

    /// Makes people with a grant each, while the broker is stopped.
    pub(crate) async fn seed(&self, people: Range<usize>, life: Duration) {
        self.world.broker.seed_grants(people.clone(), life).await;
        self.provider.adopt(people);
    }

    /// A connection to the broker, which has been used.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn api(&self) -> Result<Api> {
        self.api_of(&self.world.broker).await
    }

    /// The same to another broker.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn api_of(&self, broker: &Broker) -> Result<Api> {
        let request = acquire(&broker.grpc, &self.token("alice"), &self.server).await;
        let mut api = Api { client: broker_api(&broker.grpc).await?, request };
        let token = api.request.token.clone();
        api.release(&token).await?;
        Ok(api)
    }

    /// A token of this person, which lives an hour.
    pub(crate) fn token(&self, person: &str) -> String {
        self.world.issuer.token(person, &self.server).expires_in(3_600).mint()
    }

    /// Tokens of many people.
    pub(crate) fn tokens(&self, people: Range<usize>) -> Vec<String> {
        people.map(|number| self.token(&format!("person-{number}"))).collect()
    }

    /// Records so far.
    pub(crate) async fn records(&self) -> i64 {
        let mut database = self.world.broker.database().await;
        database.number("SELECT coalesce(max(sequence), 0) FROM audit", &[]).await
    }

    /// From now on Postgres answers before anything is on disk; a broker would not start on it.
    pub(crate) async fn without_durability(&self) {
        let mut database = self.world.broker.database().await;
        database.execute("ALTER SYSTEM SET fsync = off", &[]).await;
        database.execute("SELECT pg_reload_conf()", &[]).await;
        eventually("Postgres has heard of it", async || {
            (database.text("SHOW fsync", &[]).await == "off").then_some(())
        })
        .await;
    }

    /// What the database says of how it keeps things, if it is one that says so.
    pub(crate) async fn settings(&self) -> Vec<String> {
        if self.kms.is_none() {
            return Vec::new();
        }
        let mut database = self.world.broker.database().await;
        let mut settings = Vec::new();
        for name in ["fsync", "full_page_writes", "synchronous_commit", "wal_sync_method"] {
            settings.push(format!("{name} = {}", database.text(&format!("SHOW {name}"), &[]).await));
        }
        settings
    }
}

impl Store {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "Postgres + KMS",
        }
    }
}

impl Api {
    /// Has a credential released to the holder of this token; how long that took. On a busy machine what stands for the key
    /// service may not answer in its time: then it is asked for again, and that is said; only the last time counts.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn release(&mut self, token: &str) -> Result<(Duration, Credential)> {
        let (taken, credential, _) = self.release_told(token).await?;
        Ok((taken, credential))
    }

    /// The same, with what the broker says of where the time went.
    ///
    /// # Errors
    /// As [`Api::release`].
    pub(crate) async fn release_told(&mut self, token: &str) -> Result<(Duration, Credential, Timings)> {
        for _ in 0..PATIENCE {
            let request = AcquireCredentialRequest { token: token.to_owned(), ..self.request.clone() };
            let start = Instant::now();
            let response = self.client.acquire_credential(request).await?.into_inner();
            let taken = start.elapsed();
            match response.answer {
                Some(Answer::Credential(credential)) => {
                    return Ok((taken, credential, response.timings.unwrap_or_default()));
                }
                Some(Answer::Unavailable(why)) => println!("  asked for again after {taken:?}: {}", why.message),
                other => bail!("no credential was released: {other:?}"),
            }
        }
        bail!("no credential was released in {PATIENCE} times");
    }
}
