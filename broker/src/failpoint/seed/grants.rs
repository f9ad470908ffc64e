//! People with a grant each, all like one that there is.

use std::time::Duration;

use super::{in_order, named, put};
use crate::cli::Failure;
use crate::clock::{Clock as _, SystemClock, UnixTime};
use crate::config::Config;
use crate::keys::{self, hex};
use crate::model::{Generation, GrantKey, Tenant};
use crate::refresher::Pair;
use crate::secret::Secret;
use crate::serve;
use crate::store::copy::{Record, Table, Value, tables};
use crate::vault::Vault;

/// People whose records are in memory at once.
const AT_ONCE: usize = 5_000;

/// Length of an access token: as long as those of many providers that put claims into it.
const ACCESS_TOKEN: usize = 512;

/// What is the same for all of them.
struct Seed<'s> {
    tenant: &'s Tenant,
    vault: &'s Vault,
    /// The table of grants, and the record that all are like.
    table: &'s Table,
    like: Record,
    issuer: &'s str,
    now: UnixTime,
    life: Duration,
    count: usize,
}

/// One person, with what is theirs.
struct Person {
    principal: Record,
    identity: Record,
    grant: Record,
}

/// Makes so many people, `person-<first>` of the first issuer and on, while no broker serves. Each has a grant like the first
/// that there is, with a refresh token `seeded-refresh-token-of-person-<n>` of their own. Their access tokens live so long,
/// and the first three quarters of that lie behind them in equal parts; with no life at all, they are over.
///
/// # Errors
/// If the store or the master key cannot be had, or there is no grant yet.
pub async fn grants(config: &Config, first: usize, count: usize, life: Duration) -> Result<(), Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(error);
    let _only = serve::lock(&config.data_dir).map_err(|error| failed(&error))?;
    let store = serve::open_store_alone(config).await.map_err(|error| failed(&error))?;
    let vault = serve::open_vault(config).await.map_err(|error| failed(&error))?;
    let tables = tables().await.map_err(|error| failed(&error))?;
    let (principals, identities) = (named(&tables, "principals")?, named(&tables, "identities")?);
    let table = named(&tables, "grants")?;
    let there = store.records(table, None, 1).await.map_err(|error| failed(&error))?;
    let like =
        there.into_iter().next().ok_or_else(|| Failure::new("there is no grant yet", "consent to a server once"))?;
    let issuer = config.issuers.first().ok_or_else(|| Failure::new("there is no issuer", ""))?;
    let seed = Seed {
        tenant: &config.tenant,
        vault: &vault,
        table,
        like,
        issuer: &issuer.issuer,
        now: SystemClock.now(),
        life,
        count,
    };
    let numbers: Vec<usize> = (0..count).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let (mut who, mut by, mut what) = (Vec::new(), Vec::new(), Vec::new());
        for at in numbers {
            // One after the other: a key service is not to be flooded.
            let Person { principal, identity, grant } = seed.person(first, *at, principals, identities).await?;
            who.push(principal);
            by.push(identity);
            what.push(grant);
        }
        for (table, records) in [(principals, who), (identities, by), (table, what)] {
            put(&*store, table, records).await?;
        }
    }
    store.close().await;
    Ok(())
}

impl Seed<'_> {
    async fn person(&self, first: usize, at: usize, principals: &Table, identities: &Table) -> Result<Person, Failure> {
        let text = |text: &str| Value::Text(text.to_owned());
        let name = format!("person-{}", first + at);
        let principal = hex(Secret::random::<16>().expose());
        let now = Value::Integer(self.now.0.try_into().unwrap_or(i64::MAX));
        Ok(Person {
            principal: in_order(
                principals,
                vec![
                    ("id", text(&principal)),
                    ("kind", text("user")),
                    ("name", Value::Text(format!("{name}@example.com"))),
                    ("created_at", now.clone()),
                ],
            ),
            identity: in_order(
                identities,
                vec![
                    ("issuer", text(self.issuer)),
                    ("subject", text(&name)),
                    ("principal", text(&principal)),
                    ("created_at", now),
                    ("linked", text("created")),
                ],
            ),
            grant: self.grant(&name, &principal, at).await?,
        })
    }

    async fn grant(&self, name: &str, principal: &str, at: usize) -> Result<Record, Failure> {
        let key = GrantKey { provider_client: self.text("provider_client")?, holder: principal.to_owned() };
        let (id, generation) = (keys::grant_id(self.tenant, &key), Generation(1));
        let pair = Pair::new(self.vault, &id).await.map_err(|error| Failure::of(&error))?;
        let access_token = Secret::new(format!("{:x<ACCESS_TOKEN$}", format!("seeded-access-token-of-{name}-")));
        let refresh_token = Secret::new(format!("seeded-refresh-token-of-{name}"));
        let (access, refresh) = pair.seal(&id, generation, &access_token, Some(&refresh_token));
        let past = self.life.mul_f64(0.75 * at as f64 / self.count as f64);
        let issued_at = UnixTime(self.now.0.saturating_sub(u64::try_from(past.as_millis()).unwrap_or_default()));
        let time = |at: UnixTime| Value::Integer(at.0.try_into().unwrap_or(i64::MAX));
        let due_at = time(issued_at.after(self.life.mul_f64(0.8)));
        let own = [
            ("id", Value::Text(id)),
            ("holder", Value::Text(key.holder)),
            ("generation", Value::Integer(1)),
            ("account", Value::Text(name.to_owned())),
            ("consented_by", Value::Text(principal.to_owned())),
            ("access_token", Value::Bytes(access.0)),
            ("refresh_token", refresh.map_or(Value::Null, |refresh| Value::Bytes(refresh.0))),
            ("issued_at", time(issued_at)),
            ("expires_at", time(issued_at.after(self.life))),
            ("refresh_after", due_at.clone()),
            ("due_at", due_at),
            ("used_at", Value::Null),
        ];
        let columns = self.table.columns.iter().zip(&self.like);
        let of = |name: &str| own.iter().find(|(column, _)| *column == name).map(|(_, value)| value.clone());
        Ok(columns.map(|((name, _), like)| of(name).unwrap_or_else(|| like.clone())).collect())
    }

    /// A text of the record that all are like.
    fn text(&self, name: &str) -> Result<String, Failure> {
        let mut columns = self.table.columns.iter().zip(&self.like);
        match columns.find(|((column, _), _)| column == name) {
            Some((_, Value::Text(text))) => Ok(text.clone()),
            _ => Err(Failure::new(format!("a grant has no `{name}`"), "")),
        }
    }
}
