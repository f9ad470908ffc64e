//! Master keys: each that is held can wrap and unwrap now, and none is missing that a stored secret needs.

use super::Finding;
use crate::causes;
use crate::master_keys::{MasterKeys, WRAPS_ALARM};
use crate::vault::Vault;

pub(super) async fn findings(vault: &Vault, keys: &MasterKeys) -> Vec<Finding> {
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
