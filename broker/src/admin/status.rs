//! Errors as operators get them: what is wrong and why, each under the code that says whether to try again.

use tonic::Status;

use crate::audit::AuditError;
use crate::causes::told;
use crate::issuers::own::OwnIssuerError;
use crate::master_keys::MasterKeyError;
use crate::registry::RegistryError;
use crate::secrets::SecretsError;
use crate::signin::Refused;
use crate::store::StoreError;

pub(super) fn of_registry(error: &RegistryError) -> Status {
    match error {
        RegistryError::Stored { .. } => Status::failed_precondition(told(error)),
        RegistryError::NotJson { .. } => Status::data_loss(told(error)),
        RegistryError::Store(_) | RegistryError::Audit(_) => Status::unavailable(told(error)),
    }
}

pub(super) fn of_secrets(error: &SecretsError) -> Status {
    match error {
        SecretsError::Name { .. }
        | SecretsError::Owner { .. }
        | SecretsError::NoOwner { .. }
        | SecretsError::Empty
        | SecretsError::TooLarge => Status::invalid_argument(told(error)),
        SecretsError::Missing(_) => Status::not_found(told(error)),
        SecretsError::Vault(_) => Status::failed_precondition(told(error)),
        SecretsError::Store(_) | SecretsError::Audit(_) => Status::unavailable(told(error)),
    }
}

pub(super) fn of_master_key(error: &MasterKeyError) -> Status {
    match error {
        MasterKeyError::UnderWay => Status::aborted(told(error)),
        MasterKeyError::Shared | MasterKeyError::Rotate(_) => Status::failed_precondition(told(error)),
        MasterKeyError::OtherTenant { .. } => Status::invalid_argument(told(error)),
        MasterKeyError::Vault(_) | MasterKeyError::Store(_) | MasterKeyError::Audit(_) => {
            Status::unavailable(told(error))
        }
    }
}

pub(super) fn of_own_issuer(error: &OwnIssuerError) -> Status {
    match error {
        OwnIssuerError::Lifetime => Status::invalid_argument(told(error)),
        OwnIssuerError::Store(_) => Status::unavailable(told(error)),
        OwnIssuerError::Vault(_)
        | OwnIssuerError::Newest { .. }
        | OwnIssuerError::NotAKey { .. }
        | OwnIssuerError::Unfit(_)
        | OwnIssuerError::Sign(_) => Status::failed_precondition(told(error)),
    }
}

pub(super) fn of_sign_in(refused: &Refused) -> Status {
    match refused {
        Refused::NoPerson => Status::not_found(told(refused)),
        Refused::Store(error) => of_store(error),
        Refused::Audit(error) => of_audit(error),
        Refused::Unknown
        | Refused::OtherBrowser
        | Refused::State
        | Refused::Link
        | Refused::NotConfigured
        | Refused::NoApplication
        | Refused::WrongPerson
        | Refused::Caller(_)
        | Refused::Contested(_)
        | Refused::Answer(_)
        | Refused::Denied(_)
        | Refused::Tokens(_)
        | Refused::NoIdToken
        | Refused::IdToken(_)
        | Refused::Discovery(_)
        | Refused::AuthorizationUrl(_)
        | Refused::Vault(_) => Status::failed_precondition(told(refused)),
    }
}

pub(super) fn of_store(error: &StoreError) -> Status {
    match error {
        StoreError::Conflict => Status::aborted(told(error)),
        StoreError::OtherSubject(_) => Status::failed_precondition(told(error)),
        StoreError::Corrupt { .. } => Status::data_loss(told(error)),
        StoreError::Unavailable(_) => Status::unavailable(told(error)),
    }
}

pub(super) fn of_audit(error: &AuditError) -> Status {
    match error {
        AuditError::Stopped | AuditError::Store(_) => Status::unavailable(told(error)),
    }
}
