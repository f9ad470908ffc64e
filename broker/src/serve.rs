//! Assembly: makes the parts of a broker from its configuration, and runs them until it is asked to end.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::admin::{self, Admin, SocketError};
use crate::audit::Audit;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Log, LogFormat, Mode};
use crate::harden;
use crate::issuers::own::{OwnIssuer, OwnIssuerError};
use crate::registry::{Registry, RegistryError};
use crate::secrets::Secrets;
use crate::store::Store;
use crate::store::sqlite::{OpenError, SqliteStore};
use crate::vault::{KeyFile, KeyFileError, Vault};

/// Why a broker did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system does not let it hide its memory or hear signals.
    #[error("the system refuses what the broker needs of it")]
    System(#[from] std::io::Error),
    /// There is no master key.
    #[error("no start without the master key")]
    Key(#[from] KeyFileError),
    /// There is no store.
    #[error("the store does not open")]
    Store(#[from] OpenError),
    /// There are no signing keys.
    #[error("the broker's own signing keys do not open")]
    OwnIssuer(#[from] OwnIssuerError),
    /// The manifests cannot be loaded.
    #[error("the manifests cannot be loaded")]
    Registry(#[from] RegistryError),
    /// There is no admin socket.
    #[error("operators cannot be answered")]
    AdminSocket(#[from] SocketError),
    /// A listener failed.
    #[error("a listener failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Runs a broker until SIGTERM or SIGINT.
///
/// # Errors
/// If one of its parts cannot start, or fails.
pub async fn run(config: Config) -> Result<(), ServeError> {
    log(&config.log);
    if config.mode == Mode::Demonstration {
        tracing::warn!(
            "mode: demonstration. Proxy and broker share one Unix user, who can read every secret; never serve real accounts like this"
        );
    }
    harden::forbid_memory_dumps()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let vault = Vault::open_or_create(KeyFile::at(&config.key_file).outside(&config.data_dir), &config.tenant)?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.data_dir).await?);
    let audit = Audit::start(Arc::clone(&store), Arc::clone(&clock), config.tenant.clone());
    let secrets =
        Secrets::new(Arc::clone(&store), vault.clone(), audit.clone(), Arc::clone(&clock), config.tenant.clone());
    let registry = Registry::load(Arc::clone(&store), audit.clone(), Arc::clone(&clock), config.tenant.clone()).await?;
    let own = OwnIssuer::open(&config.public_url, Arc::clone(&store), &vault, Arc::clone(&clock)).await?;
    let listener = admin::bind(&config.admin.socket)?;
    let admin = Admin {
        registry: Arc::new(registry),
        secrets,
        own: Arc::new(own),
        store,
        audit,
        clock,
        public_url: config.public_url.clone(),
        revoked: Box::new(|| {}),
    };
    let stop = CancellationToken::new();
    let asked = ends(&stop)?;
    tracing::info!(admin = %config.admin.socket.display(), "serving");
    let served = admin.serve(listener, stop).await;
    asked.abort();
    Ok(served?)
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

fn log(log: &Log) {
    let filter = EnvFilter::new(log.level.name());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A test may have set one up before; the first one stays.
    let _ = match log.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
}
