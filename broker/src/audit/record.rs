//! An event as one line of JSON that no input can break out of.

use std::fmt::Write;

use super::event::{Actor, Event, Outcome, PolicyDecision, ReportSpan};
use crate::clock::UnixTime;
use crate::fingerprints::Fingerprint;
use crate::keys;
use crate::model::Tenant;
use crate::store::{AuditEntry, StoredAudit};

/// Longest text kept of one field, bytes: a caller chooses names of tools, and must not fill the disk with one.
const TEXT_MAX: usize = 1024;

/// Every field is always there, `null` where it does not apply.
#[derive(serde::Serialize)]
struct Record<'a> {
    ts: String,
    event: &'static str,
    outcome: Outcome,
    reason: Option<&'a str>,
    actor: Option<&'a Actor>,
    on_behalf_of: Option<&'a str>,
    tenant: &'a str,
    source_address: Option<&'a str>,
    request_id: Option<&'a str>,
    traceparent: Option<&'a str>,
    peer: Option<&'a str>,
    proxy: Option<&'a str>,
    server: Option<&'a str>,
    method: Option<&'a str>,
    target: Option<&'a str>,
    policy: Option<&'a PolicyDecision>,
    use_handle: Option<&'a str>,
    grant: Option<&'a str>,
    generation: Option<u64>,
    secrets: &'a [String],
    fingerprints: &'a [Fingerprint],
    provider_account: Option<&'a str>,
    latency_us: Option<u64>,
    report: Option<&'a ReportSpan>,
    count: Option<u64>,
    broker_version: &'static str,
    filter_version: Option<&'a str>,
}

/// What the store keeps of an event.
pub(super) fn entry(mut event: Event, tenant: &Tenant, now: UnixTime) -> AuditEntry {
    event.shorten();
    let at = event.at.unwrap_or(now);
    let call = &event.call;
    let record = Record {
        ts: at.to_rfc3339(),
        event: event.name.as_str(),
        outcome: event.outcome,
        reason: event.reason.as_deref(),
        actor: event.actor.as_ref(),
        on_behalf_of: event.on_behalf_of.as_ref().map(|principal| principal.0.as_str()),
        tenant: &tenant.0,
        source_address: told(&call.source_address),
        request_id: told(&call.request_id),
        traceparent: told(&call.traceparent),
        peer: told(&call.peer),
        proxy: told(&call.proxy),
        server: told(&call.server),
        method: told(&call.method),
        target: told(&call.target),
        policy: event.policy.as_ref(),
        use_handle: event.use_handle.as_deref(),
        grant: event.grant.as_deref(),
        generation: event.generation.map(|generation| generation.0),
        secrets: &event.secrets,
        fingerprints: &event.fingerprints,
        provider_account: event.provider_account.as_deref(),
        latency_us: event.latency.map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        report: event.report.as_ref(),
        count: event.count,
        broker_version: env!("CARGO_PKG_VERSION"),
        filter_version: told(&call.filter_version),
    };
    let json = serde_json::to_string(&record).expect("text and numbers always become JSON");
    AuditEntry {
        event: event.name.as_str().to_owned(),
        actor: event.actor.as_ref().map(Actor::key).unwrap_or_default(),
        server: event.call.server,
        at,
        json: one_line(json),
    }
}

/// A stored record as it is shown: one JSON object with its place in the chain.
pub fn line(stored: &StoredAudit) -> String {
    let fields = stored.entry.json.strip_prefix('{').unwrap_or("}");
    let (sequence, previous, hash) = (stored.sequence, keys::hex(&stored.previous), keys::hex(&stored.hash));
    format!(r#"{{"sequence":{sequence},"previous":"{previous}","hash":"{hash}",{fields}"#)
}

fn told(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// JSON leaves some characters as they are that terminals and viewers take for the end of a line or for a change of
/// direction; inside JSON they can stand in strings only, where an escape means the same.
fn one_line(json: String) -> String {
    let misleads = |c: char| {
        c.is_control()
            || matches!(c, '\u{061c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !json.contains(misleads) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len() + 16), |mut line, c| {
        if misleads(c) {
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
        line
    })
}

fn shorten(text: &mut String) {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.push('…');
    }
}

impl Event {
    fn shorten(&mut self) {
        let call = &mut self.call;
        let texts = [
            &mut call.peer,
            &mut call.proxy,
            &mut call.filter_version,
            &mut call.source_address,
            &mut call.request_id,
            &mut call.traceparent,
            &mut call.server,
            &mut call.method,
            &mut call.target,
        ];
        texts.into_iter().for_each(shorten);
        let texts = [&mut self.reason, &mut self.use_handle, &mut self.grant, &mut self.provider_account];
        texts.into_iter().flatten().for_each(shorten);
        if let Some(actor) = &mut self.actor {
            shorten(&mut actor.issuer);
            shorten(&mut actor.subject);
            actor.client_id.iter_mut().for_each(shorten);
        }
        if let Some(policy) = &mut self.policy {
            shorten(&mut policy.rule);
        }
        if let Some(report) = &mut self.report {
            shorten(&mut report.worker);
        }
    }
}
