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
        400 if text.contains("invalid ciphertext") || text.contains("unable to decrypt") => Meaning::NotOurs,
        // The key is gone, or its version: `min_decryption_version` was raised above it.
        400 if text.contains("key not found") || text.contains("too old") || text.contains("too new") => {
            Meaning::Disabled
        }
        401 | 403 => Meaning::Denied,
        // No secrets engine is mounted there.
        404 => Meaning::Disabled,
        429 => Meaning::Throttled,
        408 | 504 => Meaning::TimedOut,
        // Among them 503 of a server that is sealed, and 472 and 473 of a standby.
        _ => Meaning::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v4_the_same_trouble_is_the_same_error_whoever_keeps_the_key() {
        for (aws, (status, text), meaning) in [
            ("InvalidCiphertextException", (400, "invalid ciphertext: unable to decrypt"), Meaning::NotOurs),
            ("AccessDeniedException", (403, "permission denied"), Meaning::Denied),
            ("NotFoundException", (400, "encryption key not found"), Meaning::Disabled),
            ("DisabledException", (400, "ciphertext version is disallowed by policy (too old)"), Meaning::Disabled),
            ("NotFoundException", (404, "no handler for route"), Meaning::Disabled),
            ("ThrottlingException", (429, "request path: rate limit quota exceeded"), Meaning::Throttled),
            ("DependencyTimeoutException", (504, ""), Meaning::TimedOut),
            ("KMSInternalException", (500, "internal error"), Meaning::Failed),
            ("anything else", (503, "Vault is sealed"), Meaning::Failed),
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
