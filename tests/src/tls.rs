//! Certificate authorities and the certificates they sign: right ones, and ones for somebody else.

use std::{path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key.
pub struct Certificate {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    /// A new authority.
    ///
    /// # Panics
    /// When the system has no randomness.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("the system has randomness");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, crate::unique("authority"));
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate, for those who are to trust it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for this DNS name, IP address or URI.
    pub fn certify(&self, name: &str) -> Certificate {
        let key = KeyPair::generate().expect("the system has randomness");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![match (name.contains("://"), name.parse()) {
            (true, _) => SanType::URI(name.try_into().expect("a good URI")),
            (false, Ok(address)) => SanType::IpAddress(address),
            (false, Err(_)) => SanType::DnsName(name.try_into().expect("a good name")),
        }];
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority signs");
        Certificate { certificate, key }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificate {
    /// Writes `<name>.crt` and `<name>.key`, PEM.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write(&self, directory: &Path, name: &str) {
        let write = |ending: &str, pem| std::fs::write(directory.join(format!("{name}.{ending}")), pem);
        write("crt", self.certificate.pem()).and(write("key", self.key.serialize_pem())).expect("it is writable");
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.der().clone()], key)
            .expect("the key is the certificate's");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}
