//! A certificate for `localhost`, of an authority of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Writes `server.crt` and `server.key`, as Postgres looks for them, and `ca.crt`.
pub(crate) fn write(data: &Path) {
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).expect("it signs itself");
    let issuer = Issuer::new(authority, key);
    let server_key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let server = server.signed_by(&server_key, &issuer).expect("the authority signs");
    for (name, text, mode) in [
        ("ca.crt", certificate.pem(), 0o644),
        ("server.crt", server.pem(), 0o644),
        // Postgres refuses one that others may read.
        ("server.key", server_key.serialize_pem(), 0o600),
    ] {
        fs::write(data.join(name), text).expect("the directory is writable");
        fs::set_permissions(data.join(name), Permissions::from_mode(mode)).expect("it is ours");
    }
}
