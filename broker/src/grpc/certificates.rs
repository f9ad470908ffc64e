//! The broker's certificate and the authorities of its proxies, read again whenever their files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::config::PeerTls;

/// Why the files do not make a listener.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{} cannot be read", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no PEM, or not of what it should hold.
    #[error("{} holds no {wanted} in PEM", file.display())]
    NoPem {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// An authority that checks nobody.
    #[error("{} holds no certificate that can be an authority", file.display())]
    NoAuthority {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Option<rustls::Error>,
    },
    /// The key is another certificate's.
    #[error("{} is not the key of {}; put the two of one pair there", key.display(), certificate.display())]
    Mismatch {
        /// The private key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
        /// What rustls said.
        #[source]
        source: rustls::Error,
    },
    /// The authorities make no verifier.
    #[error("proxies' certificates cannot be checked")]
    Verifier(#[from] VerifierBuilderError),
}

/// What handshakes use now.
#[derive(Debug)]
pub(super) struct Certificates {
    files: PeerTls,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    /// Of the files that were tried last, whether they were good or not.
    seen: Vec<Option<SystemTime>>,
    handshakes: Handshakes,
}

/// What the next handshake uses.
#[derive(Clone, Debug)]
pub(super) struct Handshakes {
    pub(super) config: Arc<ServerConfig>,
    /// Cancelled when other authorities take the place of those that vouched for whoever came in.
    pub(super) replaced: CancellationToken,
    /// The authorities, as their file has them.
    authorities: Arc<Vec<CertificateDer<'static>>>,
}

impl Certificates {
    pub(super) fn load(files: &PeerTls) -> Result<Self, CertificateError> {
        let current = Current { seen: changed_at(files), handshakes: Handshakes::of(files)? };
        Ok(Self { files: files.clone(), current: Mutex::new(current) })
    }

    /// For the next handshake. Files that changed are read again; if they are bad, those before stay in force. Whoever came
    /// in under other authorities than those of now is not heard any more.
    pub(super) fn handshakes(&self) -> Handshakes {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = changed_at(&self.files);
        if seen != current.seen {
            current.seen = seen;
            match Handshakes::of(&self.files) {
                Ok(handshakes) => {
                    tracing::info!("certificates were read again");
                    let before = std::mem::replace(&mut current.handshakes, handshakes);
                    if before.authorities == current.handshakes.authorities {
                        current.handshakes.replaced = before.replaced;
                    } else {
                        tracing::warn!("the authorities of proxies changed: connections from before are closed");
                        before.replaced.cancel();
                    }
                }
                Err(error) => tracing::error!(
                    error = crate::causes::told(&error),
                    "new certificates are not usable; those before stay in force"
                ),
            }
        }
        current.handshakes.clone()
    }
}

fn changed_at(files: &PeerTls) -> Vec<Option<SystemTime>> {
    let changed = |file: &PathBuf| std::fs::metadata(file).and_then(|is| is.modified()).ok();
    [&files.certificate_file, &files.key_file, &files.client_ca_file].map(changed).to_vec()
}

impl Handshakes {
    fn of(files: &PeerTls) -> Result<Self, CertificateError> {
        let authorities = Arc::new(certificates(&files.client_ca_file)?);
        let config = server_config(files, &authorities)?;
        Ok(Self { config, replaced: CancellationToken::new(), authorities })
    }
}

fn server_config(
    files: &PeerTls,
    authorities: &[CertificateDer<'static>],
) -> Result<Arc<ServerConfig>, CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let authorities = Arc::new(roots(&files.client_ca_file, authorities)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(authorities, Arc::clone(&provider)).build()?;
    let chain = certificates(&files.certificate_file)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key_file)?).map_err(|source| CertificateError::NoPem {
        file: files.key_file.clone(),
        wanted: "private key",
        source,
    })?;
    let mismatch = |source| CertificateError::Mismatch {
        key: files.key_file.clone(),
        certificate: files.certificate_file.clone(),
        source,
    };
    // Both ends are ours: nothing older than TLS 1.3.
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(mismatch)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(mismatch)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would outlive its certificate and the file that vouched for it.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn roots(file: &Path, authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    let no_authority = |source| CertificateError::NoAuthority { file: file.to_owned(), source };
    for certificate in authorities {
        roots.add(certificate.clone()).map_err(|source| no_authority(Some(source)))?;
    }
    match roots.is_empty() {
        true => Err(no_authority(None)),
        false => Ok(roots),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let no_pem = |source| CertificateError::NoPem { file: file.to_owned(), wanted: "certificate", source };
    let all = all.map_err(no_pem)?;
    match all.is_empty() {
        true => Err(no_pem(pem::Error::NoItemsFound)),
        false => Ok(all),
    }
}

fn read(file: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, CertificateError> {
    let read = std::fs::read(file).map(zeroize::Zeroizing::new);
    read.map_err(|source| CertificateError::Unreadable { file: file.to_owned(), source })
}
