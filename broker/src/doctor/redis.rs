//! Redis, where several brokers spare each other work through it. Nothing depends on it, so that nothing of it is bad.

use super::Finding;
use crate::causes;
use crate::config::{self, Config};
use crate::coordination::{Coordination, Examined};

const CHECK: &str = "redis";

/// Of a broker that runs; none where no Redis is configured.
pub(super) async fn finding(coordination: &Coordination) -> Option<Finding> {
    coordination.examine().await.map(of)
}

/// Of a machine where no broker answers for it.
pub async fn seen_from_here(config: &Config) -> Option<Finding> {
    let config::Coordination::Redis(redis) = &config.coordination else { return None };
    match redis.address() {
        Ok(address) => finding(&Coordination::through(address, config.tenant.clone())).await,
        // This alone keeps a broker from starting.
        Err(error) => Some(Finding::bad(CHECK, causes::told(&error), "mend coordination.redis, or remove it")),
    }
}

fn of(Examined { at, took, without }: Examined) -> Finding {
    match took {
        Ok(took) => Finding::good(CHECK, format!("{at} lends and takes back a lease in {} ms", took.as_millis())),
        Err(why) => Finding::warning(
            CHECK,
            format!("{at} is of no use now: {why}. {without}"),
            "start it, or mend what the cause names (way there, user and rights, certificate: docs/coordination.md); brokers \
             take it up again by themselves",
        ),
    }
}
