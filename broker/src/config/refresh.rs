//! When grants are refreshed that nobody waits for, and how much each provider is asked.

use std::time::Duration;

use super::value::duration;
use crate::refresher::Budget;
use crate::yaml::{Fields, Flaw};

/// When grants are refreshed that nobody waits for, and how much each provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// How long after its last use a grant is refreshed when it is due; later its next use does that.
    pub idle_after: Duration,
    /// What one provider may be asked.
    pub provider: Budget,
}

const MAX_IDLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);

pub(super) fn refresh(fields: Option<&Fields<'_>>) -> Refresh {
    let Budget { at_once, per_second, failures, pause } = Budget::default();
    let field = |name| fields.and_then(|fields| fields.optional(name));
    let idle_after = field("idle_after").and_then(|field| field.parse(|text| up_to(text, MAX_IDLE, "30d")));
    let provider = field("provider").and_then(|field| field.fields());
    let number = |name, most, otherwise| {
        let Some(field) = provider.as_ref().and_then(|fields| fields.optional(name)) else { return otherwise };
        match field.number() {
            Some(number) if (1..=most).contains(&number) => number,
            Some(_) => {
                field.report(Flaw::new("is out of range", format!("write 1 to {most}; {otherwise} is the default")));
                otherwise
            }
            None => otherwise,
        }
    };
    let budget = Budget {
        at_once: number("at_once", 1_000, at_once),
        per_second: number("per_second", 10_000, per_second),
        failures: number("failures", 1_000, failures),
        pause: provider
            .as_ref()
            .and_then(|fields| fields.optional("pause"))
            .and_then(|field| field.parse(|text| up_to(text, MAX_PAUSE, "5m")))
            .unwrap_or(pause),
    };
    if let Some(provider) = provider {
        provider.finish();
    }
    Refresh { idle_after: idle_after.unwrap_or(crate::refresher::Limits::default().idle), provider: budget }
}

fn up_to(text: &str, most: Duration, shown: &str) -> Result<Duration, Flaw> {
    match duration(text)? {
        read if read <= most => Ok(read),
        _ => Err(Flaw::new(format!("is more than {shown}"), format!("write `0s` to `{shown}`"))),
    }
}
