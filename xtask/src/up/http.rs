//! Plain requests to loopback.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;
use ureq::Agent;

fn agent() -> Agent {
    // No proxy from the environment: everything here is on this machine.
    Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into()
}

/// Status of a GET; `None` when nobody answers.
pub(crate) fn status(url: &str) -> Option<u16> {
    agent().get(url).call().ok().map(|response| response.status().as_u16())
}

/// An MCP call: status and body.
///
/// # Errors
/// When nobody answers.
pub(crate) fn call(url: &str, token: &str, message: &str) -> Result<(u16, String)> {
    let mut response = agent()
        .post(url)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .send(message)?;
    Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
}

/// Tells a counterpart something at its `/control/` path.
///
/// # Errors
/// When it does not take it.
pub(crate) fn control(url: &str, body: &Value) -> Result<()> {
    let mut response = agent().post(url).header("content-type", "application/json").send(body.to_string())?;
    if !response.status().is_success() {
        bail!("{url} answered {}: {}", response.status(), response.body_mut().read_to_string()?);
    }
    Ok(())
}

/// The JSON-RPC message in a body that is JSON, or an event stream with one event.
pub(crate) fn message(body: &str) -> Option<Value> {
    let json = body.lines().find_map(|line| line.strip_prefix("data:")).unwrap_or(body);
    serde_json::from_str(json.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_an_answer() {
        for body in ["{\"id\":1}", "event: message\r\ndata: {\"id\":1}\r\n\r\n"] {
            assert_eq!(message(body), Some(serde_json::json!({ "id": 1 })), "{body}");
        }
        assert_eq!(message("upstream connect error"), None);
    }
}
