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
