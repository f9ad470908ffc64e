//! What the demo consists of: servers of each kind, callers, manifests.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::up::http;
use crate::up::ports::Ports;
use crate::up::site::Site;

/// The environment that the demo servers run in.
pub(crate) const PYTHON: &str = "fastmcp-4.1";
/// The group of all demo servers.
pub(crate) const GROUP: &str = "demo";
/// The secret group that its manifests refer to.
pub(crate) const SECRETS: &str = "demo";
/// Key of what demo/weather wants to see.
pub(crate) const WEATHER_KEY: &str = "weather-key";
/// Key of the client secret for demo/analytics.
pub(crate) const ANALYTICS_SECRET: &str = "analytics-client-secret";
/// Key of the client secret for demo/notes, and the client's id at the identity provider.
pub(crate) const NOTES_SECRET: &str = "notes-client-secret";
pub(crate) const NOTES_CLIENT: &str = "notes";
/// The server that wants each person's own account.
pub(crate) const PERSONAL: &str = "demo/notes";
/// The broker's client at the identity provider, for signing people in.
const SIGN_IN_CLIENT: &str = "sallyport-sign-in";
/// The server of the example that `up` prints.
pub(crate) const SHOWN: &str = "demo/analytics";
/// How long the printed tokens live.
pub(crate) const TOKEN_LIFE: &str = "12h";
/// Name, option and subject of each caller that gets a token.
pub(crate) const CALLERS: [(&str, &str, &str); 3] = [
    ("alice", "--user", "alice@example.com"),
    ("bob", "--user", "bob@example.com"),
    ("runtime", "--virtual-account", "demo-runtime"),
];
/// A call that the demo servers answer without a session.
pub(crate) const WHOAMI: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","arguments":{}}}"#;

/// The answer to a call without a grant.
const CONSENT_REQUIRED: i64 = -31001;

/// One demo server.
pub(crate) struct Server {
    /// `demo/<name>`
    pub(crate) name: String,
    /// How the gate authenticates to it.
    pub(crate) auth: &'static str,
    /// Arguments of `mcp_server.py`.
    pub(crate) arguments: Vec<String>,
}

/// All of them.
pub(crate) fn servers(ports: &Ports, site: &Site) -> Vec<Server> {
    let idp = format!("http://127.0.0.1:{}", ports.idp);
    let server = |name: &str, auth: &'static str, port: u16, arguments: &[&str]| Server {
        name: format!("{GROUP}/{name}"),
        auth,
        arguments: ["--stateless", "--name", name, "--port", &port.to_string()]
            .iter()
            .chain(arguments)
            .map(|each| (*each).to_owned())
            .collect(),
    };
    let [echo, weather, analytics, notes] = ports.servers;
    let key = site.weather_key.to_string_lossy();
    let jwks = format!("{idp}/jwks");
    let resource = format!("{idp}/resource");
    let bearer = ["--auth", "bearer", "--issuer", &idp, "--jwks-uri", &jwks, "--audience", &resource];
    vec![
        server("echo", "none", echo, &["--auth", "none"]),
        server("weather", "header", weather, &["--auth", "header", "--header", "X-Api-Key", "--value-file", &key]),
        server("analytics", "client_credentials", analytics, &bearer),
        server("notes", "authorization_code", notes, &bearer),
    ]
}

/// Clients of the identity provider besides the agent's.
pub(crate) fn clients(ports: &Ports, analytics: &str, sign_in: &str) -> Value {
    let sign_in_callback = format!("http://127.0.0.1:{}/signin/callback", ports.gateway);
    json!([
        { "client_id": "analytics", "client_secret": analytics },
        { "client_id": SIGN_IN_CLIENT, "client_secret": sign_in, "redirect_uris": [sign_in_callback] },
    ])
}

/// The client of demo/notes, for an identity provider that is running: only the broker knows its redirect URI.
pub(crate) fn notes_client(secret: &str, redirect_uri: &str) -> Value {
    json!({ "client_id": NOTES_CLIENT, "client_secret": secret, "redirect_uris": [redirect_uri] })
}

/// `sallyport.yaml` of the demo.
pub(crate) fn configuration(ports: &Ports, uid: &str) -> String {
    let Ports { gateway, broker, idp, .. } = ports;
    format!(
        "# Written by `cargo xtask up`. Paths are relative to the directory of this file.
mode: demonstration
tenant: demo
public_url: http://127.0.0.1:{gateway}
data_dir: data
key_file: key/master.key
grpc: {{ socket: run/broker.sock, allowed_peer_uids: [{uid}] }}
admin: {{ socket: admin/admin.sock }}
http: {{ listen: \"127.0.0.1:{broker}\" }}
network: {{ allow: [\"127.0.0.0/8\"] }}
issuers:
  - issuer: http://127.0.0.1:{idp}
    audiences: [\"http://127.0.0.1:{gateway}\"]
    login: true
    profile: access_token
    algorithms: [RS256, ES256, EdDSA]
    email_claim: email
sign_in:
  issuer: http://127.0.0.1:{idp}
  client_id: {SIGN_IN_CLIENT}
  client_secret_file: demo/sign-in.secret
log: {{ level: info, format: json }}
"
    )
}

/// The manifests of the demo servers.
pub(crate) fn manifests(ports: &Ports) -> String {
    let [echo, weather, analytics, notes] = ports.servers;
    let idp = ports.idp;
    format!(
        "# Written by `cargo xtask up`.
type: provider-account/mcp-server-group
name: {GROUP}
collaborators:
  - {{ subject: \"user:alice@example.com\", role_id: mcp-server-manager }}
integrations:
  - type: integration/mcp-server/remote
    name: echo
    description: Needs no credential; everyone may use it.
    transport: streamable-http
    url: http://127.0.0.1:{echo}/mcp
    authorized_subjects: [\"team:everyone\"]
  - type: integration/mcp-server/remote
    name: weather
    description: Wants an API key that no caller ever sees.
    transport: streamable-http
    url: http://127.0.0.1:{weather}/mcp
    auth_data:
      type: header
      headers: {{ X-Api-Key: \"tfy-secret://demo:{SECRETS}:{WEATHER_KEY}\" }}
    authorized_subjects: [\"user:bob@example.com\", \"virtualaccount:demo-runtime\"]
  - type: integration/mcp-server/remote
    name: analytics
    description: Wants a token that the gate fetches as a client of its own; bob may not use it.
    transport: streamable-http
    url: http://127.0.0.1:{analytics}/mcp
    auth_data:
      type: oauth2
      grant_type: client_credentials
      token_url: http://127.0.0.1:{idp}/token
      client_id: analytics
      client_secret: \"tfy-secret://demo:{SECRETS}:{ANALYTICS_SECRET}\"
    authorized_subjects: [\"virtualaccount:demo-runtime\"]
  - type: integration/mcp-server/remote
    name: notes
    description: Wants each person's own account at the identity provider.
    transport: streamable-http
    url: http://127.0.0.1:{notes}/mcp
    auth_data:
      type: oauth2
      grant_type: authorization_code
      authorization_url: http://127.0.0.1:{idp}/auth
      token_url: http://127.0.0.1:{idp}/token
      revocation_url: http://127.0.0.1:{idp}/token/revocation
      issuer: http://127.0.0.1:{idp}
      client_id: {NOTES_CLIENT}
      client_secret: \"tfy-secret://demo:{SECRETS}:{NOTES_SECRET}\"
      scopes: [\"mcp:tools\"]
    authorized_subjects: [\"user:bob@example.com\"]
"
    )
}

/// What a server says about who called it.
///
/// # Errors
/// When it does not answer with a result.
pub(crate) fn whoami(url: &str, token: &str) -> Result<Value> {
    let (status, body) = http::call(url, token, WHOAMI)?;
    let message = http::message(&body).with_context(|| format!("{url} answered {status}: {body}"))?;
    let result = &message["result"];
    match &result["structuredContent"] {
        Value::Object(_) if status == 200 => Ok(result["structuredContent"].clone()),
        _ => bail!("{url} answered {status}: {body}"),
    }
}

/// What became of a call to the server that wants each person's own account: who it was called as, or where to go.
///
/// # Errors
/// When it is neither an answer nor the request for consent.
pub(crate) fn personal(url: &str, token: &str) -> Result<String> {
    let (status, body) = http::call(url, token, WHOAMI)?;
    let message = http::message(&body).with_context(|| format!("{url} answered {status}: {body}"))?;
    match (&message["error"]["code"], message["error"]["data"].as_str()) {
        (Value::Number(code), Some(data)) if code.as_i64() == Some(CONSENT_REQUIRED) => Ok(data.to_owned()),
        (Value::Null, _) => {
            describe(&message["result"]["structuredContent"], token).map(|who| format!("called as {who}"))
        }
        _ => bail!("{url} answered {status}: {body}"),
    }
}

/// In a line: the credential that arrived.
///
/// # Errors
/// When the caller's own token arrived (I1).
pub(crate) fn describe(answer: &Value, token: &str) -> Result<String> {
    let credential = &answer["credential"];
    let inbound: String = token.chars().skip(token.chars().count().saturating_sub(6)).collect();
    if credential.to_string().contains(&inbound) {
        bail!("the caller's own token reached the server: {answer}");
    }
    let Some((header, seen)) = credential.as_object().and_then(|each| each.iter().next()) else {
        return Ok("nobody: no credential arrived".to_owned());
    };
    let tail = seen["tail"].as_str().unwrap_or_default();
    Ok(match seen["claims"]["sub"].as_str() {
        Some(subject) => format!("`{subject}`: {header} with a token that ends in {tail}"),
        None => format!("the holder of a key: {header} ends in {tail}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_finds_the_callers_token_in_what_a_server_saw() {
        let leaked =
            json!({ "credential": { "authorization": { "scheme": "Bearer", "tail": "abcdef", "claims": null } } });
        assert!(describe(&leaked, "eyJ.payload.123abcdef").is_err());
        assert!(describe(&leaked, "eyJ.payload.123ABCDEF").unwrap().contains("abcdef"));
    }

    #[test]
    fn says_when_no_credential_arrived() {
        assert!(describe(&json!({ "credential": {} }), "eyJ.a.b").unwrap().contains("no credential"));
    }
}
