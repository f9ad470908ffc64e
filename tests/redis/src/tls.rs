//! A certificate for `localhost` and its address, of an authority of its own.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Writes `server.crt`, `server.key` and `ca.crt`.
pub(crate) fn write(dir: &Path) {
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    // Not that of the server: OpenSSL would take the server's certificate for its own authority's.
    authority.distinguished_name.push(DnType::CommonName, "authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).expect("it signs itself");
    let issuer = Issuer::new(authority, key);
    let server_key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("two names");
    let server = server.signed_by(&server_key, &issuer).expect("the authority signs");
    for (name, text) in
        [("ca.crt", certificate.pem()), ("server.crt", server.pem()), ("server.key", server_key.serialize_pem())]
    {
        fs::write(dir.join(name), text).expect("the directory is writable");
    }
}

const FILES: [&str; 3] = ["ca.crt", "server.crt", "server.key"];

/// Gives what was written there to another server of this machine.
pub(crate) fn copy(from: &Path, to: &Path) {
    for name in FILES {
        fs::copy(from.join(name), to.join(name)).expect("it was written");
    }
}

/// Lines of a configuration: this port and no other, and no certificate asked of clients.
pub(crate) fn settings(port: u16, dir: &Path) -> String {
    let [ca, cert, key] = FILES.map(|name| dir.join(name).display().to_string());
    format!(
        "port 0\ntls-port {port}\ntls-cert-file {cert}\ntls-key-file {key}\ntls-ca-cert-file {ca}\ntls-auth-clients no\n"
    )
}
