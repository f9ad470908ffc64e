//! Whether the gateway is there, and the filter in it: asked as an agent would.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::Value;

use super::Finding;
use crate::causes;
use crate::secret::Secret;

const CHECK: &str = "gateway";

/// Longer than the filter waits for a body before it says that it never comes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// No request of MCP: it is refused once it was read, by whomever it was sent, and reaches no server.
const NO_REQUEST: &str = "[]";

/// Asks for readiness, then without a token, then with one.
///
/// `path` is that of a registered server, which hears nothing of it.
pub async fn findings(
    public_url: &str,
    ca_file: Option<&Path>,
    path: Option<&str>,
    token: Option<&Secret>,
) -> Vec<Finding> {
    let client = match client(ca_file) {
        Ok(client) => client,
        Err(error) => return vec![Finding::bad(CHECK, format!("no HTTPS from here: {error}"), "see network.ca_file")],
    };
    let mut findings = vec![ready(&client, public_url).await];
    let Some(path) = path else {
        return findings;
    };
    let endpoint = format!("{public_url}{path}");
    findings.push(without_token(&client, &endpoint).await);
    if let Some(token) = token {
        findings.push(with_token(&client, &endpoint, token).await);
    }
    findings
}

fn client(ca_file: Option<&Path>) -> anyhow::Result<Client> {
    let mut builder = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy();
    if let Some(file) = ca_file {
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&std::fs::read(file)?)?);
    }
    Ok(builder.build()?)
}

async fn ready(client: &Client, public_url: &str) -> Finding {
    match client.get(format!("{public_url}/sallyport/ready")).send().await {
        Ok(answer) if answer.status() == StatusCode::OK => Finding::good(CHECK, format!("{public_url} is ready")),
        Ok(answer) => {
            let told = format!("{public_url}/sallyport/ready answers {}", answer.status().as_u16());
            Finding::bad(
                CHECK,
                told,
                "503: that Envoy does not reach a broker, see its cluster sallyport_broker; else something stands before Envoy, or the filter is not in it",
            )
        }
        Err(error) => {
            let told = format!("{public_url} was not reached from here: {}", causes::innermost(&error));
            Finding::warning(
                CHECK,
                told,
                "start Envoy; if agents do reach it, let this machine do so too, or take no notice",
            )
        }
    }
}

/// Nothing must pass that shows no token.
async fn without_token(client: &Client, endpoint: &str) -> Finding {
    match answer(client, endpoint, None).await {
        Ok((StatusCode::UNAUTHORIZED, _)) => Finding::good(CHECK, "refuses who shows no token"),
        Ok((status, _)) => {
            let told = format!("{endpoint} answers {} to a call without a token", status.as_u16());
            Finding::bad(
                CHECK,
                told,
                "the filter is not in the way of this call, or has no snapshot: see envoy/envoy.yaml, and /sallyport/ready",
            )
        }
        Err(error) => Finding::warning(CHECK, format!("a call was not answered: {error}"), "see Envoy's log"),
    }
}

/// The refusal shows that the token was verified and the body read.
async fn with_token(client: &Client, endpoint: &str, token: &Secret) -> Finding {
    let answered = match answer(client, endpoint, Some(token)).await {
        Ok(answered) => answered,
        Err(error) => return Finding::warning(CHECK, format!("a call was not answered: {error}"), "see Envoy's log"),
    };
    let (status, body) = answered;
    let reason = body["error"]["data"]["reason"].as_str().unwrap_or_default();
    match (status, body["error"]["code"].as_i64()) {
        (StatusCode::BAD_REQUEST, Some(-32_600)) => Finding::good(CHECK, "verifies tokens and reads bodies"),
        _ if reason == "body_callback_missing" => {
            let told = "Envoy shows the filter no body";
            let remedy =
                "set `allow_on_headers_stop_iteration: true` in the filter's configuration, as envoy/envoy.yaml does";
            Finding::bad(CHECK, told, remedy)
        }
        (status, code) => {
            let told = format!(
                "a request that is none was answered {} {} {reason}",
                status.as_u16(),
                code.unwrap_or_default()
            );
            let remedy = "compare Envoy's configuration with envoy/envoy.yaml, and public_url with what agents type";
            Finding::bad(CHECK, told, remedy)
        }
    }
}

async fn answer(client: &Client, endpoint: &str, token: Option<&Secret>) -> Result<(StatusCode, Value), String> {
    let mut request = client.post(endpoint).body(NO_REQUEST).header("content-type", "application/json");
    request = request.header("accept", "application/json, text/event-stream");
    if let Some(token) = token {
        // Exposed to be shown to the gateway it was issued for.
        request = request.bearer_auth(token.expose_str().unwrap_or_default());
    }
    let answer = request.send().await.map_err(|error| causes::innermost(&error))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| causes::innermost(&error))?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}
