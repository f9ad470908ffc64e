//! What a key service's refusal means, in one table for all of them: what can be done about it, not who said it.

use super::master::{Cause, KeyError};

/// What can be done about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    NotOurs,
    Denied,
    Disabled,
    Throttled,
    TimedOut,
    Failed,
}

impl Meaning {
    pub(super) fn error(self, said: Cause) -> KeyError {
        match self {
            Self::NotOurs => KeyError::NotOurs,
            Self::Denied => KeyError::Denied(said),
            Self::Disabled => KeyError::Disabled(said),
            Self::Throttled => KeyError::Throttled(said),
            Self::TimedOut => KeyError::TimedOut,
            Self::Failed => KeyError::Failed(said),
        }
    }

    /// Whether the same request may be answered otherwise in a moment.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::Throttled | Self::TimedOut | Self::Failed)
    }
}

/// An error of AWS KMS by its code.
pub(super) fn of_aws_kms(code: &str) -> Meaning {
    match code {
        "InvalidCiphertextException" | "IncorrectKeyException" => Meaning::NotOurs,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId" => Meaning::Denied,
        "DisabledException" | "KMSInvalidStateException" | "NotFoundException" | "InvalidKeyUsageException" => {
            Meaning::Disabled
        }
        "ThrottlingException" | "Throttling" | "LimitExceededException" | "TooManyRequestsException" => {
            Meaning::Throttled
        }
        "DependencyTimeoutException" => Meaning::TimedOut,
        _ => Meaning::Failed,
    }
}

/// An error of the transit API by its status, and by its text where the status does not tell.
pub(super) fn of_transit(status: u16, text: &str) -> Meaning {
    match status {
        400 | 500 if is_not_authentic(text) => Meaning::NotOurs,
        // The key is gone, or its version: `min_decryption_version` was raised above it, or this server has not heard of it
        // yet. Before the next, since "invalid ciphertext" is said of a version that is too new as well.
        400 if ["key not found", "too old", "too new", "no such key version", "soft-deleted"]
            .iter()
            .any(|said| text.contains(said)) =>
        {
            Meaning::Disabled
        }
        400 if text.contains("invalid ciphertext") || text.contains("unable to decrypt") => Meaning::NotOurs,
        401 | 403 => Meaning::Denied,
        // No secrets engine is mounted there.
        404 => Meaning::Disabled,
        429 => Meaning::Throttled,
        408 | 504 => Meaning::TimedOut,
        // Among them 503 of a server that is sealed, and 472 and 473 of a standby.
        _ => Meaning::Failed,
    }
}

/// Whether these are a cipher's own words, which engines pass on as they are: with 400, and some with 500, in a list. The
/// same words after others are about what the server itself has stored ("decryption failed: cipher: …").
fn is_not_authentic(text: &str) -> bool {
    let lines = text.split(['\n', ';']).map(|line| line.trim().trim_start_matches("* "));
    let ciphers = ["cipher: message authentication failed", "chacha20poly1305: message authentication failed"];
    lines.into_iter().any(|line| ciphers.contains(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v4_the_same_trouble_is_the_same_error_whoever_keeps_the_key() {
        for (aws, (status, text), meaning) in [
            ("InvalidCiphertextException", (400, "invalid ciphertext: unable to decrypt"), Meaning::NotOurs),
            ("InvalidCiphertextException", (400, "cipher: message authentication failed"), Meaning::NotOurs),
            ("IncorrectKeyException", (400, "chacha20poly1305: message authentication failed"), Meaning::NotOurs),
            (
                "InvalidCiphertextException",
                (500, "1 error occurred:\n\t* cipher: message authentication failed\n\n"),
                Meaning::NotOurs,
            ),
            ("AccessDeniedException", (403, "permission denied"), Meaning::Denied),
            ("NotFoundException", (400, "encryption key not found"), Meaning::Disabled),
            ("DisabledException", (400, "ciphertext version is disallowed by policy (too old)"), Meaning::Disabled),
            ("NotFoundException", (404, "no handler for route"), Meaning::Disabled),
            ("KMSInvalidStateException", (400, "refusing to use soft-deleted key"), Meaning::Disabled),
            ("NotFoundException", (400, "no such key version"), Meaning::Disabled),
            ("NotFoundException", (400, "invalid ciphertext: version is too new"), Meaning::Disabled),
            ("ThrottlingException", (429, "request path: rate limit quota exceeded"), Meaning::Throttled),
            ("DependencyTimeoutException", (504, ""), Meaning::TimedOut),
            ("KMSInternalException", (500, "internal error"), Meaning::Failed),
            ("anything else", (503, "Vault is sealed"), Meaning::Failed),
            (
                "anything else",
                (500, "read failed: decryption failed: cipher: message authentication failed"),
                Meaning::Failed,
            ),
        ] {
            assert_eq!((of_aws_kms(aws), of_transit(status, text)), (meaning, meaning), "{aws} {status} {text}");
        }
    }

    #[test]
    fn v4_only_what_may_pass_is_asked_again() {
        let passing = [Meaning::Throttled, Meaning::TimedOut, Meaning::Failed];
        assert!(passing.into_iter().all(Meaning::may_pass));
        assert!(![Meaning::NotOurs, Meaning::Denied, Meaning::Disabled].into_iter().any(Meaning::may_pass));
    }
}
