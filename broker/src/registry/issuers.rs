//! Whether the issuer that an external identity names is one whose users can be external.

use sallyport_caller::Issuers;

use crate::manifest::Manifest;
use crate::yaml::Problem;

/// What is wrong with it, by this configuration; nothing with a manifest of another type.
pub(super) fn problem(manifest: &Manifest, issuers: &Issuers) -> Option<Problem> {
    let (identity, line) = manifest.external_identity.as_ref()?;
    let named = &identity.rule.issuer;
    let (message, hint) = match issuers.get(named) {
        None => (
            format!("`{named}` is not an issuer of this gateway"),
            format!("write the exact `iss` of one of {}, or add it to `issuers` in the configuration", known(issuers)),
        ),
        Some(issuer) if issuer.self_issued => (
            format!("`{named}` is the gateway itself, whose tokens are for users and virtual accounts"),
            format!("write the exact `iss` of one of {}", known(issuers)),
        ),
        Some(issuer) if issuer.login => (
            format!("`{named}` has `login: true`: its people are users, and no external identity"),
            "name its people as `user:<email>`, or set `login: false` for this issuer in the configuration".to_owned(),
        ),
        Some(_) => return None,
    };
    Some(Problem {
        file: if manifest.file.is_empty() {
            format!("stored manifest {}", manifest.name)
        } else {
            manifest.file.clone()
        },
        line: *line,
        field: "issuer".to_owned(),
        message,
        hint,
    })
}

/// The issuers that may be named.
fn known(issuers: &Issuers) -> String {
    let mut known: Vec<_> = issuers
        .iter()
        .filter(|issuer| !issuer.login && !issuer.self_issued)
        .map(|issuer| format!("`{}`", issuer.issuer))
        .collect();
    known.sort_unstable();
    if known.is_empty() { "those with `login: false` (there is none)".to_owned() } else { known.join(", ") }
}
