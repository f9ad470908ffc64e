//! How long a certificate in a file is still good.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Finding;
use crate::clock::UnixTime;

/// Days before its end at which a certificate should have a successor.
const SOON: u64 = 7;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Of the first certificate in `file`, which is the broker's own.
pub(super) fn finding(check: &str, file: &Path, now: UnixTime) -> Finding {
    let shown = file.display();
    let put = "put a good one there; it is used from the next connection on, with no restart";
    let Some(ends) = ends(file) else {
        return Finding::bad(check, format!("{shown} holds no certificate that can be read"), put);
    };
    let left = ends.0.saturating_sub(now.0) / DAY_MS;
    let told = format!("{shown} is good until {}", ends.to_rfc3339());
    match left {
        _ if ends <= now => Finding::bad(check, format!("{shown} expired at {}", ends.to_rfc3339()), put),
        0..SOON => Finding::warning(check, told, put),
        _ => Finding::good(check, told),
    }
}

fn ends(file: &Path) -> Option<UnixTime> {
    let certificate = CertificateDer::from_pem_file(file).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).ok()?;
    let ends = certificate.validity().not_after.timestamp();
    Some(UnixTime(u64::try_from(ends).unwrap_or(0).saturating_mul(1000)))
}
