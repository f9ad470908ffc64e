//! Master keys: each that is held can wrap and unwrap now, and none is missing that a stored secret needs.

use super::Finding;
use crate::causes;
use crate::config::Config;
use crate::master_keys::{MasterKeys, WRAPS_ALARM};
use crate::serve;
use crate::vault::Vault;

/// Of the key services of a broker that does not answer; keys in files are looked at where files are.
pub async fn seen_from_here(config: &Config) -> Vec<Finding> {
    let mut services = config.clone();
    services.master_keys.retain(|key| key.file().is_none());
    if services.master_keys.is_empty() {
        return Vec::new();
    }
    match serve::open_vault(&services).await {
        Ok(vault) => tried(&vault).await,
        Err(error) => {
            vec![Finding::bad("master keys", causes::told(&error), "mend vault.keys, or what the cause names")]
        }
    }
}

/// Of a broker that runs.
pub(crate) async fn findings(vault: &Vault, keys: &MasterKeys) -> Vec<Finding> {
    let mut findings = tried(vault).await;
    match keys.list().await {
        Ok(listed) => {
            for key in listed.iter().filter(|key| key.held.is_none()) {
                let told = format!("{} stored secrets need it, and it is not held", key.fields);
                let remedy = "put its file back, or list it under vault.keys: the next start refuses without it";
                findings.push(Finding::bad(format!("master key {}", key.id), told, remedy));
            }
            for key in &listed {
                if let Some(wraps) = key.wraps.filter(|wraps| *wraps >= WRAPS_ALARM) {
                    let told = format!("it may have wrapped {wraps} data keys, and 2^31 are the most");
                    findings.push(Finding::warning(
                        format!("master key {}", key.id),
                        told,
                        "run `sallyport key rotate`, then `sallyport key rewrap`",
                    ));
                }
            }
        }
        Err(error) => {
            let told = format!("which keys are needed is not known: {}", causes::told(&error));
            findings.push(Finding::bad("master keys", told, "see what is found of the store"));
        }
    }
    findings
}

/// Each key wraps and unwraps something that is nobody's.
async fn tried(vault: &Vault) -> Vec<Finding> {
    let mut findings = Vec::new();
    for key in vault.keys() {
        let check = format!("master key {}", key.id);
        findings.push(match vault.try_out(key.id).await {
            Ok(took) => Finding::good(check, format!("{} wraps and unwraps in {} ms", key.kept, took.as_millis())),
            Err(error) => {
                let remedy = "nothing it has sealed opens meanwhile, and no other key takes its place: mend what the cause names";
                Finding::bad(check, causes::told(&error), remedy)
            }
        });
    }
    findings
}
