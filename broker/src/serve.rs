//! Assembly: makes the parts of a broker from its configuration, and runs them until it is asked to end.

mod log;
mod only;
mod ready;
mod shared_clock;
mod store;
mod vault;

pub(crate) use only::lock;
pub(crate) use store::is_of_older_version;
#[cfg(test)]
pub(crate) use store::open as open_store;
pub(crate) use store::open_alone as open_store_alone;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::audit::Audit;
use crate::clock::{Clock, UnixTime};
use crate::config::{self, AddressError, Config, CoordinationError, Mode, SecretError, SecretSource, SignIn};
use crate::consent::{self, Consents};
use crate::coordination::{Coordination, Looks, News};
use crate::doctor::{self, Running};
use crate::fetch::{self, Fetcher};
use crate::fingerprints::{FingerprintError, Fingerprints};
use crate::grants::{self, Follower, Grants};
use crate::grpc;
use crate::harden;
use crate::http;
use crate::issuers::own::{OwnIssuer, OwnIssuerError};
use crate::issuers::{Issuers, Provider};
use crate::master_keys::{self, MasterKeys, NotHeld};
use crate::oauth::TokenEndpoint;
use crate::refresher::{self, Limits, Refresher, Spool};
use crate::registry::{Registry, RegistryError};
use crate::secret::Secret;
use crate::secrets::Secrets;
use crate::service::{self, Service};
use crate::signin::{self, Oidc, SignIns};
use crate::snapshot::{self, PublishError, Publisher, Settings};
use crate::store::{Store, StoreError, postgres, sqlite};
use crate::vault::{OpenError as VaultOpenError, Vault};
use crate::xds;

/// How long calls that are being answered may go on once the broker is asked to end: longer than a caller waits.
const ANSWERING: Duration = Duration::from_secs(4);

/// Between two attempts to take up what was cut off, while the store does not answer.
const RECOVERY_PAUSE: Duration = Duration::from_secs(1);

/// How long renewals that are under way may go on after that.
const DRAIN: Duration = Duration::from_secs(20);

const _: () = assert!(
    consent::LONGEST.as_millis() < DRAIN.as_millis(),
    "what a consent gave must be stored or given back by then"
);

/// How often what has expired is dropped: strangers can begin sign-ins. A consent is kept for a day longer, since its link
/// says until then that it has expired, and starts again.
const TIDY: Duration = Duration::from_secs(60);
const KEPT_EXPIRED_MS: u64 = 24 * 60 * 60 * 1000;

/// How often manifests and secrets are looked for that another broker was given.
const LOOK: Duration = Duration::from_millis(500);

/// The publisher reads what is revoked each second by itself.
const REVOKED: Duration = Duration::from_secs(60);

/// Why a broker did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system does not let it hide its memory or hear signals.
    #[error("the system refuses what the broker needs of it")]
    System(#[from] std::io::Error),
    /// There is no master key.
    #[error("no start without the master key")]
    Key(#[from] VaultOpenError),
    /// A master key is missing that stored records need.
    #[error("no start without every master key that is needed")]
    NotHeld(#[from] NotHeld),
    /// Another broker is at work on the same data.
    #[error("another broker serves from {}; give each its own data_dir", .0.display())]
    Taken(std::path::PathBuf),
    /// The store is half of one.
    #[error("the store is being filled from {0}; run `sallyport store migrate-to` again, to its end")]
    Copying(String),
    /// People could not sign in.
    #[error("people cannot sign in at the issuer")]
    SignIn(#[from] SecretError),
    /// There is no store.
    #[error("the store does not open")]
    Sqlite(#[from] sqlite::OpenError),
    /// There is no store.
    #[error("the store does not open")]
    Postgres(#[from] postgres::OpenError),
    /// The store is not where the configuration says.
    #[error("the store does not open")]
    StoreAddress(#[from] AddressError),
    /// Redis is not where the configuration says. One that does not answer ends no start.
    #[error("brokers cannot coordinate")]
    Coordination(#[from] CoordinationError),
    /// The store was opened, and does not answer.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// There are no signing keys.
    #[error("the broker's own signing keys do not open")]
    OwnIssuer(#[from] OwnIssuerError),
    /// Releases could not be recorded whole.
    #[error("the audit cannot name what is released")]
    Fingerprints(#[from] FingerprintError),
    /// The manifests cannot be loaded.
    #[error("the manifests cannot be loaded")]
    Registry(#[from] RegistryError),
    /// There is no first snapshot.
    #[error("the first snapshot cannot be made")]
    Publish(#[from] PublishError),
    /// What has ended is not known: a proxy that comes back would go on with it.
    #[error("which grants have ended cannot be read")]
    Ended(#[source] StoreError),
    /// Nothing could be fetched.
    #[error("the client for providers cannot be made")]
    Fetch(#[from] fetch::SetUpError),
    /// There are no metrics.
    #[error("metrics cannot be recorded")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// There is no admin socket.
    #[error("operators cannot be answered")]
    AdminSocket(#[from] admin::SocketError),
    /// There is no listener for proxies.
    #[error("proxies cannot be answered")]
    Proxies(#[from] grpc::ListenError),
    /// There is no HTTP listener.
    #[error("http.listen: {address} cannot be listened on")]
    Http {
        /// As configured.
        address: std::net::SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A listener failed.
    #[error("a listener failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Runs a broker until SIGTERM or SIGINT, then drains what is under way.
///
/// # Errors
/// If one of its parts cannot start, or fails.
pub async fn run(config: Config) -> Result<(), ServeError> {
    log::start(&config.log);
    warn_of_demonstration(config.mode);
    harden::forbid_memory_dumps()?;
    let recorded = http::record_metrics()?;
    let tenant = config.tenant.clone();

    let _only = only::lock(&config.data_dir)?;
    let store = store::open(&config).await?;
    let stop = CancellationToken::new();
    let clock = shared_clock::of_store(&store, stop.clone()).await?;
    let ca_pem = ca_pem(&config)?;
    let vault = vault::open(&config, ca_pem.as_deref(), store.is_new().await?).await?;
    let audit = Audit::start(Arc::clone(&store), Arc::clone(&clock), tenant.clone());
    let spool = Spool::open(&config.data_dir.join("spool"))?;
    let (watched, waiting) = (vault.clone(), spool.clone());
    let master_keys = MasterKeys::open(master_keys::Parts {
        tenant: tenant.clone(),
        vault: vault.clone(),
        store: Arc::clone(&store),
        spool: spool.clone(),
        audit: audit.clone(),
        clock: Arc::clone(&clock),
    })
    .await?;
    let secrets = Secrets::new(Arc::clone(&store), vault.clone(), audit.clone(), Arc::clone(&clock), tenant.clone());
    let own = Arc::new(OwnIssuer::open(&config.public_url, Arc::clone(&store), &vault, Arc::clone(&clock)).await?);
    let fingerprints = Arc::new(Fingerprints::open(&*store, &vault, &*clock).await?);
    let fetcher = Fetcher::new(&config.network.allow, ca_pem.as_deref())?;
    let providers = config.issuers.iter().map(Provider::from).collect();
    let issuers = Issuers::new(providers, own.issuer(), fetcher.clone(), Arc::clone(&clock));
    let configured = issuers.current();
    let registry =
        Registry::load(Arc::clone(&store), audit.clone(), Arc::clone(&clock), tenant.clone(), configured).await?;
    let registry = Arc::new(registry);
    let publisher = Publisher::start(snapshot::Parts {
        settings: settings(&config),
        store: Arc::clone(&store),
        vault: vault.clone(),
        clock: Arc::clone(&clock),
        issuers: issuers.subscribe(),
        servers: registry.subscribe(),
    })
    .await?;
    let coordination = coordination(&config)?;
    let running = Running::new(doctor::Parts {
        store_at: store::place(&config)?,
        store: Arc::clone(&store),
        vault: vault.clone(),
        master_keys: master_keys.clone(),
        spool: spool.clone(),
        fetcher: fetcher.clone(),
        issuers: Arc::clone(&issuers),
        servers: registry.subscribe(),
        coordination: coordination.clone(),
        clock: Arc::clone(&clock),
    });
    let (unwanted, too_late) = tokio::sync::mpsc::unbounded_channel();
    let limits = Limits { idle: config.refresh.idle_after, budget: config.refresh.provider, ..Limits::default() };
    let refresher = Refresher::new(refresher::Parts {
        tenant: tenant.clone(),
        broker: only::broker_name(&config.data_dir)?,
        store: Arc::clone(&store),
        vault: vault.clone(),
        endpoint: Arc::new(fetcher.clone()),
        secrets: Arc::new(secrets.clone()),
        holds: Arc::new(publisher.clone()),
        unwanted,
        spool,
        audit: audit.clone(),
        clock: Arc::clone(&clock),
        limits,
        coordination: coordination.clone(),
    });
    let endpoint: Arc<dyn TokenEndpoint> = Arc::new(fetcher.clone());
    let grants = Grants::new(grants::Parts {
        tenant: tenant.clone(),
        store: Arc::clone(&store),
        vault: vault.clone(),
        endpoint: Arc::clone(&endpoint),
        secrets: Arc::new(secrets.clone()),
        audit: audit.clone(),
        clock: Arc::clone(&clock),
        servers: registry.subscribe(),
        refresher: refresher.clone(),
        holds: Arc::new(publisher.clone()),
        coordination: coordination.clone(),
    });
    let ended = Follower::start(grants.clone()).await.map_err(ServeError::Ended)?;
    let consents = Consents::new(consent::Parts {
        tenant: tenant.clone(),
        store: Arc::clone(&store),
        vault: vault.clone(),
        endpoint,
        secrets: Arc::new(secrets.clone()),
        audit: audit.clone(),
        clock: Arc::clone(&clock),
        servers: registry.subscribe(),
        grants: grants.clone(),
        public_url: config.public_url.clone(),
        commit_limit: consent::COMMIT,
    });
    let service = Service::new(service::Parts {
        tenant,
        store: Arc::clone(&store),
        publisher: publisher.clone(),
        keys: Arc::new(Arc::clone(&issuers)),
        refresher: refresher.clone(),
        consents: consents.clone(),
        secrets: Arc::new(secrets.clone()),
        audit: audit.clone(),
        fingerprints: Arc::clone(&fingerprints),
        clock: Arc::clone(&clock),
    });
    let sign_ins = SignIns::new(signin::Parts {
        store: Arc::clone(&store),
        vault,
        audit: audit.clone(),
        clock: Arc::clone(&clock),
        issuers: Arc::clone(&issuers),
        fetcher,
        servers: registry.subscribe(),
        public_url: config.public_url.clone(),
        oidc: config.sign_in.as_ref().map(oidc).transpose()?,
    });
    let budget = http::pages::Budget::new(audit.clone(), Arc::clone(&clock));
    let pages = http::pages::Pages {
        budget: budget.clone(),
        consents: consents.clone(),
        sign_ins: sign_ins.clone(),
        service: service.clone(),
        public_url: config.public_url.clone(),
    };

    // Every socket is bound before anything is served: a start either comes to all of it or to nothing.
    let proxies = grpc::listen(&config).await?;
    let operators = admin::bind(&config.admin.socket)?;
    let address = config.http.listen;
    let bound = tokio::net::TcpListener::bind(address).await;
    let web = bound.map_err(|source| ServeError::Http { address, source })?;

    let _signals = ends(&stop)?;
    let mut background = JoinSet::new();
    // Longer than the rest: what is drained holds leases.
    let drained = CancellationToken::new();
    background.spawn(coordination.clone().run(drained.clone()));
    background.spawn(Arc::clone(&issuers).run(stop.clone()));
    background.spawn(publisher.clone().run(stop.clone()));
    background.spawn(ended.run(publisher.reads(), stop.clone()));
    background.spawn(grants.clone().follow_refreshes(stop.clone()));
    let no_more = CancellationToken::new();
    let revoking = tokio::spawn(grants.clone().revoke_unwanted(too_late, no_more.clone()));
    background.spawn(recover(refresher.clone(), registry.subscribe(), stop.clone()));
    background.spawn(refresher.clone().run(registry.subscribe(), stop.clone()));
    background.spawn(master_keys.clone().count_wraps(stop.clone()));
    background.spawn(watched.clone().watch(stop.clone()));
    background.spawn(secrets.clone().forget_old(stop.clone()));
    background.spawn(budget.run(stop.clone()));
    background.spawn(drop_expired(Arc::clone(&store), consents.clone(), Arc::clone(&clock), stop.clone()));
    let looks = coordination.looks(News::Policy, LOOK);
    background.spawn(Arc::clone(&registry).follow(looks, publisher.reads(), stop.clone()));
    background.spawn(tell_of_policy(coordination.clone(), registry.subscribe(), stop.clone()));
    background.spawn(hear_of_revocations(coordination.looks(News::Revoked, REVOKED), publisher.clone(), stop.clone()));
    background.spawn(reconsider(refresher.clone(), registry.subscribe(), stop.clone()));

    let endpoints = http::Endpoints {
        readiness: Arc::new(ready::Broker::new(ready::Parts {
            store_at: store::place(&config)?,
            store: Arc::clone(&store),
            issuers,
            coordination: coordination.clone(),
            refresher: refresher.clone(),
            vault: watched.clone(),
            spool: waiting,
            reads: publisher.reads(),
            clock: Arc::clone(&clock),
        })),
        keys: Arc::new(ready::OwnKeys(Arc::clone(&own))),
        metrics: recorded,
    };
    let web = axum::serve(web, http::router(endpoints)).with_graceful_shutdown(stop.clone().cancelled_owned());
    background.spawn(async move {
        if let Err(error) = web.await {
            tracing::error!(%error, "the HTTP listener failed");
        }
    });

    let upstream = xds::Upstream::new(config.upstream.ca_file.clone());
    let resources = xds::follow(registry.subscribe(), upstream, config.grpc.scopes());
    let ads = xds::Ads::new(resources, stop.clone());
    let gate = grpc::router(service, ads, http::pages::router(pages), stop.clone())
        .serve_with_incoming_shutdown(proxies.incoming(), stop.clone().cancelled_owned());
    let revoked = grants.clone();
    let admin = Admin {
        registry,
        sign_ins,
        secrets,
        own,
        grants,
        master_keys,
        store: Arc::clone(&store),
        audit,
        fingerprints,
        clock,
        public_url: config.public_url.clone(),
        secret_changed: Box::new({
            let refresher = refresher.clone();
            move || refresher.reconsider()
        }),
        revoked: Box::new({
            let coordination = coordination.clone();
            move || {
                publisher.wake();
                coordination.tell(News::Revoked);
            }
        }),
        running,
    };
    tracing::info!(
        grpc = %config.grpc, admin = %config.admin.socket.display(), http = %address, "serving"
    );
    let served = tokio::select! {
        served = async { tokio::try_join!(gate, admin.serve(operators, stop.clone())) } => served.map(|_| ()),
        () = overdue(&stop) => Ok(()),
    };
    stop.cancel();
    let drained_by = tokio::time::Instant::now() + DRAIN;
    let (renewals, consenting) = tokio::join!(refresher.drain(DRAIN), consents.drain(DRAIN));
    // What they brought home too late is told to providers before the end.
    no_more.cancel();
    let _ = revoking.await;
    let revocations = revoked.drain(drained_by.duration_since(tokio::time::Instant::now())).await;
    let left = renewals + consenting + revocations;
    if left > 0 {
        tracing::error!(left, "ended before every renewal and every revocation had");
    }
    coordination.end().await;
    drained.cancel();
    tokio::select! {
        () = async { while background.join_next().await.is_some() {} } => {}
        () = overdue(&stop) => {}
    }
    store.close().await;
    served?;
    tracing::info!("ended");
    Ok(())
}

/// The vault that this configuration names, for a store that holds sealed records already.
pub(crate) async fn open_vault(config: &Config) -> Result<Vault, ServeError> {
    Ok(vault::open(config, ca_pem(config)?.as_deref(), false).await?)
}

fn ca_pem(config: &Config) -> std::io::Result<Option<Vec<u8>>> {
    config.network.ca_file.as_ref().map(std::fs::read).transpose()
}

fn oidc(sign_in: &SignIn) -> Result<Oidc, SecretError> {
    let secret = |source: &SecretSource| source.read("sign_in.client_secret");
    Ok(Oidc {
        issuer: sign_in.issuer.clone(),
        client_id: Secret::new(sign_in.client_id.as_str()),
        client_secret: sign_in.client_secret.as_ref().map(secret).transpose()?,
        scopes: sign_in.scopes.clone(),
        assume_pkce: sign_in.assume_pkce,
    })
}

fn coordination(config: &Config) -> Result<Coordination, CoordinationError> {
    let tenant = config.tenant.clone();
    Ok(match &config.coordination {
        config::Coordination::InProcess => Coordination::in_process(tenant),
        config::Coordination::Redis(redis) => Coordination::through(redis.address()?, tenant),
    })
}

fn settings(config: &Config) -> Settings {
    Settings {
        tenant: config.tenant.clone(),
        public_url: config.public_url.clone(),
        max_staleness: config.snapshot.max_staleness,
        allowed_origins: config.snapshot.allowed_origins.clone(),
        allowed_hosts: config.snapshot.allowed_hosts.clone(),
    }
}

/// Ends what an earlier start has left unfinished, once the store answers.
async fn recover(
    refresher: Refresher,
    servers: tokio::sync::watch::Receiver<Arc<crate::model::Servers>>,
    stop: CancellationToken,
) {
    loop {
        let clients = servers.borrow().provider_clients();
        match refresher.recover(&clients).await {
            Ok(count) => return tracing::info!(count, "refreshes that were cut off were taken up"),
            Err(error) => tracing::error!(%error, "what was cut off cannot be taken up yet"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(RECOVERY_PAUSE)).await.is_none() {
            return;
        }
    }
}

/// Drops sessions and sign-ins that have expired, and consents that did a while ago.
async fn drop_expired(store: Arc<dyn Store>, consents: Consents, clock: Arc<dyn Clock>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(TIDY)).await.is_some() {
        if let Err(error) = consents.abandon().await {
            tracing::warn!(%error, "tokens stay held that nobody asks for");
        }
        let now = clock.now();
        if let Err(error) = store.drop_expired(now, UnixTime(now.0.saturating_sub(KEPT_EXPIRED_MS))).await {
            tracing::warn!(%error, "what has expired stays for now");
        }
    }
}

/// Whenever an operator has changed something, providers that failed are asked again at once.
async fn reconsider(
    refresher: Refresher,
    mut servers: tokio::sync::watch::Receiver<Arc<crate::model::Servers>>,
    stop: CancellationToken,
) {
    while let Some(Ok(())) = stop.run_until_cancelled(servers.changed()).await {
        refresher.reconsider();
    }
}

/// Whatever changes here is news to other brokers; where it came from one of them, they look once more and find nothing.
async fn tell_of_policy(
    coordination: Coordination,
    mut servers: tokio::sync::watch::Receiver<Arc<crate::model::Servers>>,
    stop: CancellationToken,
) {
    while let Some(Ok(())) = stop.run_until_cancelled(servers.changed()).await {
        servers.mark_unchanged();
        coordination.tell(News::Policy);
    }
}

/// A token was revoked at another broker.
async fn hear_of_revocations(mut looks: Looks, publisher: Publisher, stop: CancellationToken) {
    while stop.run_until_cancelled(looks.next()).await.is_some() {
        publisher.wake();
    }
}

/// Returns when peers have had [`ANSWERING`] since `stop` to end: one that never finishes its request must not keep the
/// broker from ending.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(ANSWERING).await;
    tracing::warn!("connections are closed that did not end by themselves");
}

/// Cancels `stop` on SIGTERM and SIGINT.
fn ends(stop: &CancellationToken) -> Result<tokio::task::JoinHandle<()>, std::io::Error> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let stop = stop.clone();
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::info!("asked to end");
        stop.cancel();
    }))
}

fn warn_of_demonstration(mode: Mode) {
    match mode {
        Mode::Standard => {}
        // At the level that no configuration silences.
        Mode::Demonstration => tracing::error!(
            "mode: demonstration. Proxy and broker share one Unix user, who can read every secret; never serve real accounts like this"
        ),
    }
}
