mod identities;

use std::sync::Arc;

use super::*;
use crate::model::{Auth, AuthorizationCode, ClientAuthentication, SecretRef, Template, TemplatePart};

const GROUP: &str = r#"type: provider-account/mcp-server-group
name: demo
ownedBy: { team: platform }
collaborators:
  - { subject: "team:platform", role_id: mcp-server-manager }
integrations:
  - type: integration/mcp-server/remote
    name: echo
    description: Says what it hears.
    url: https://echo.example/mcp
    transport: streamable-http
    authorized_subjects: ["user:Alice@Example.com", "virtualaccount:runtime"]
    auth_data:
      type: header
      headers: { X-Api-Key: "tfy-secret://demo:keys:echo" }
  - type: integration/mcp-server/remote
    name: analytics
    url: https://analytics.example
    auth_data:
      type: oauth2
      grant_type: client_credentials
      token_url: https://idp.example/token
      client_id: gate
      client_secret: tfy-secret://demo:keys:analytics
      scopes: [read]
      include_resource: true
"#;

fn tenant(name: &str) -> Tenant {
    Tenant(name.to_owned())
}

fn demo(text: &str) -> Reading {
    read("group.yaml", text, &tenant("demo"))
}

fn good(text: &str) -> Vec<Manifest> {
    let reading = demo(text);
    assert!(reading.problems.is_empty(), "{:#?}", reading.problems);
    reading.manifests
}

#[test]
fn a_group_becomes_its_servers() {
    let manifests = good(GROUP);
    let [echo, analytics] = manifests[0].servers.as_slice() else { panic!("two servers") };
    assert_eq!(echo.name.0, "demo/echo");
    assert_eq!(echo.subjects, ["team:platform", "user:alice@example.com", "virtualaccount:runtime"]);
    let key = Template(vec![TemplatePart::Secret(SecretRef { group: "keys".into(), key: "echo".into() })]);
    assert_eq!(echo.auth, Auth::Header(vec![("x-api-key".into(), key)]));
    let Auth::ClientCredentials(client) = &analytics.auth else { panic!("client credentials") };
    assert_eq!(client.client_authentication, ClientAuthentication::Basic);
    assert_eq!(client.resource.as_deref(), Some("https://analytics.example"));
    let references: Vec<_> = manifests[0].references.iter().map(|r| (r.line, r.field.as_str())).collect();
    let expected =
        [(15, "integrations[0].auth_data.headers.X-Api-Key"), (24, "integrations[1].auth_data.client_secret")];
    assert_eq!(references, expected);
}

#[test]
fn a_stored_manifest_reads_the_same() {
    let manifest = good(GROUP).remove(0);
    let stored = stored("demo", &manifest.body, &tenant("demo"));
    assert!(stored.problems.is_empty(), "{:?}", stored.problems);
    assert_eq!(stored.manifests[0].servers, manifest.servers);
    assert_eq!(stored.manifests[0].body, manifest.body);
}

#[test]
fn a_team_has_members() {
    let manifests = good("type: team\nname: platform\nmembers: [Bob@example.com, alice@example.com]\n");
    assert_eq!(manifests[0].members, ["alice@example.com", "bob@example.com"]);
    assert!(!demo("type: team\nname: everyone\nmembers: []\n").problems.is_empty());
    assert!(!demo("type: team\nname: t\nmembers: [a@b, A@b]\n").problems.is_empty());
    assert!(!demo("type: team\nname: t\nmembers: [alice]\n").problems.is_empty());
    assert!(!demo("type: team\nname: t\n").problems.is_empty());
}

#[test]
fn several_documents_and_no_authentication() {
    let text = format!("{GROUP}---\ntype: team\nname: platform\nmembers: []\n---\n");
    assert_eq!(good(&text).len(), 2);
    let open = "type: provider-account/mcp-server-group\nname: g\nintegrations: [{type: integration/mcp-server/remote, name: s, url: 'http://127.0.0.1:1/mcp'}]\n";
    assert_eq!(good(open)[0].servers[0].auth, Auth::None);
    assert!(good(open)[0].servers[0].subjects.is_empty());
}

#[test]
fn a_known_group_with_both_oauth_flows_is_read_as_it_is_published() {
    let text = include_str!("fixtures/backend-group.yaml");
    let reading = read("backend-group.yaml", text, &tenant("northwind"));
    assert!(reading.problems.is_empty() && reading.warnings.is_empty(), "{reading:#?}");
    let [github, analytics] = reading.manifests[0].servers.as_slice() else { panic!("{reading:#?}") };
    let Auth::AuthorizationCode(code) = &github.auth else { panic!("{github:#?}") };
    assert_eq!(code.client.authorization_url.as_str(), "https://github.com/login/oauth/authorize");
    assert_eq!(
        (code.scopes.as_slice(), code.client.profile.name),
        (["repo", "read:org"].map(str::to_owned).as_slice(), "github")
    );
    assert!(code.client.client_secret.is_some() && code.client.resource.is_none());
    assert!(matches!(analytics.auth, Auth::ClientCredentials(_)));
    assert_eq!(reading.manifests[0].references.len(), 4);
}

/// A server with per-user OAuth; each line of it can be replaced.
const PERSONAL: &str = "type: provider-account/mcp-server-group
name: g
integrations:
  - type: integration/mcp-server/remote
    name: notes
    url: https://notes.example/mcp
    auth_data:
      type: oauth2
      grant_type: authorization_code
      authorization_url: https://idp.example/authorize
      token_url: https://idp.example/token
      client_id: gate
      client_secret: tfy-secret://demo:keys:notes
      scopes: [read]
";

fn personal(text: &str) -> Arc<AuthorizationCode> {
    match &good(text)[0].servers[0].auth {
        Auth::AuthorizationCode(code) => Arc::clone(code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_person_is_asked_again_where_what_they_agreed_to_changes_and_nowhere_else() {
    let was = personal(PERSONAL);
    let same = [
        ("name: notes", "name: tasks"),
        ("notes.example/mcp", "notes.example/v2/mcp"),
        ("keys:notes", "keys:rotated"),
        ("[read]", "[read, write]"),
    ];
    for (from, to) in same {
        let becomes = personal(&PERSONAL.replace(from, to));
        assert_eq!((&was.auth_revision, &was.client.id), (&becomes.auth_revision, &becomes.client.id), "{to}");
    }
    let moved = personal(&PERSONAL.replace("https://notes.example", "https://other.example"));
    assert_eq!(was.client.id, moved.client.id);
    assert_ne!(was.auth_revision, moved.auth_revision);
    let others = [
        ("idp.example/authorize", "evil.example/authorize"),
        ("idp.example/token", "evil.example/token"),
        ("client_id: gate", "client_id: other"),
        ("scopes:", "include_resource: true\n      scopes:"),
    ];
    for (from, to) in others {
        let becomes = personal(&PERSONAL.replace(from, to));
        assert_ne!(was.client.id, becomes.client.id, "{to}");
        assert_ne!(was.auth_revision, becomes.auth_revision, "{to}");
    }
}

#[test]
fn a_public_client_is_one_that_says_so() {
    let public = "client_authentication: none";
    let code = personal(&PERSONAL.replace("client_secret: tfy-secret://demo:keys:notes", public));
    assert_eq!((code.client.client_authentication, &code.client.client_secret), (ClientAuthentication::None, &None));
    assert_eq!(personal(PERSONAL).client.client_authentication, ClientAuthentication::Basic);
}

#[test]
fn a_manifest_may_know_better_how_refresh_tokens_rotate() {
    use crate::oauth::profile::Rotation;
    let with = |lines: &str| personal(&PERSONAL.replace("scopes:", &format!("{lines}\n      scopes:"))).client.clone();
    assert_eq!(personal(PERSONAL).client.rotation, Rotation::Strict);
    assert_eq!(with("provider: google").rotation, Rotation::NonRotating);
    for (word, rotation) in
        [("none", Rotation::NonRotating), ("keeps_old", Rotation::OldValid), ("strict", Rotation::Strict)]
    {
        assert_eq!(with(&format!("refresh_token_rotation: {word}")).rotation, rotation);
    }
    let grace = with("provider: auth0\n      refresh_token_rotation: grace\n      refresh_token_grace: 30s");
    assert_eq!(grace.rotation, Rotation::Grace(std::time::Duration::from_secs(30)));
    assert_eq!(grace.id, personal(PERSONAL).client.id, "nobody is asked to agree anew");
}

#[test]
fn a_manifest_may_say_where_to_ask_how_long_a_token_lives() {
    let with = |lines: &str| personal(&PERSONAL.replace("scopes:", &format!("{lines}\n      scopes:"))).client.clone();
    assert_eq!(personal(PERSONAL).client.introspection_url, None);
    let asked = with("introspection_url: https://idp.example/introspect");
    assert_eq!(asked.introspection_url.as_ref().map(url::Url::as_str), Some("https://idp.example/introspect"));
    assert_eq!(asked.id, personal(PERSONAL).client.id, "nobody is asked to agree anew");
}

#[test]
fn refuses_what_would_weaken_a_consent() {
    let secret = "client_secret: tfy-secret://demo:keys:notes";
    let rows = [
        ("scopes:", "code_challenge_methods_supported: [plain]\n      scopes:", "S256"),
        ("scopes:", "pkce: false\n      scopes:", "PKCE"),
        ("scopes:", "redirect_uri: https://x.example/\n      scopes:", "gate's own"),
        ("scopes:", "registration_url: https://x.example/\n      scopes:", "not supported by this version"),
        ("scopes:", "client_authentication: none\n      scopes:", "with a secret"),
        ("scopes:", "provider: nobody\n      scopes:", "no provider that is known"),
        ("scopes:", "refresh_token_rotation: often\n      scopes:", "not known here"),
        ("scopes:", "refresh_token_rotation: grace\n      scopes:", "does not say how long"),
        ("scopes:", "refresh_token_grace: 30s\n      scopes:", "nothing says of what"),
        ("scopes:", "refresh_token_rotation: strict\n      refresh_token_grace: 30s\n      scopes:", "no meaning"),
        ("scopes:", "refresh_token_rotation: grace\n      refresh_token_grace: 1d\n      scopes:", "ten minutes"),
        ("scopes:", "refresh_token_rotation: grace\n      refresh_token_grace: 0s\n      scopes:", "no time at all"),
        ("scopes:", "introspection_url: http://idp.example/introspect\n      scopes:", "http"),
        ("https://idp.example/authorize", "http://idp.example/authorize", "http"),
        ("https://idp.example/authorize", "javascript:alert(1)", "URL"),
        ("authorization_url: https://idp.example/authorize", "pkce: true", "is missing"),
        (secret, "client_secret: canary", "in clear"),
        (secret, "pkce: true", "is missing"),
    ];
    for (from, to, message) in rows {
        let reading = demo(&PERSONAL.replace(from, to));
        let told: Vec<_> =
            reading.problems.iter().map(|problem| format!("{} {}", problem.message, problem.hint)).collect();
        assert!(told.iter().any(|told| told.contains(message)), "{to}: {told:#?}");
        assert!(!format!("{told:?}").contains("canary"), "i9: {to}");
    }
}

/// One row a flaw: what is replaced in a good manifest, by what, and what is told about which line and field.
#[test]
fn refuses_with_line_field_and_reason() {
    let rows: &[(&str, &str, u32, &str, &str)] = &[
        (
            "type: provider-account/mcp-server-group",
            "type: mcp-server/remote",
            1,
            "type",
            "not supported by this version",
        ),
        ("type: provider-account/mcp-server-group", "type: role-binding", 1, "type", "not supported by this version"),
        (
            "type: provider-account/mcp-server-group",
            "type: provider-account/mcp-server-groop",
            1,
            "type",
            "not supported",
        ),
        ("type: provider-account/mcp-server-group", "type: external-identiy", 1, "type", "unknown type"),
        ("type: provider-account/mcp-server-group", "type: tem", 1, "type", "unknown type"),
        ("type: provider-account/mcp-server-group", "#", 2, "type", "is missing"),
        ("name: demo", "name: De/mo", 2, "name", "is not a name"),
        ("name: demo", "name: ..", 2, "name", "is not a name"),
        ("name: demo", "#", 1, "name", "is missing"),
        ("ownedBy: { team: platform }", "ownedBy: { teams: platform }", 3, "ownedBy.teams", "unknown field"),
        ("collaborators:", "colaborators:", 4, "colaborators", "unknown field"),
        ("team:platform\"", "group:platform\"", 5, "collaborators[0].subject", "no kind of subject"),
        ("mcp-server-manager", "owner", 5, "collaborators[0].role_id", "not known here"),
        (", role_id: mcp-server-manager", "", 5, "collaborators[0].role_id", "is missing"),
        ("name: echo", "name: Echo", 8, "integrations[0].name", "is not a name"),
        ("name: echo", "name: analytics", 16, "integrations[1]", "is here twice"),
        (
            "remote\n    name: echo",
            "virtual\n    name: echo",
            7,
            "integrations[0].type",
            "virtual servers are not supported",
        ),
        ("remote\n    name: echo", "stdio\n    name: echo", 7, "integrations[0].type", "no type of integration"),
        ("url: https://echo.example/mcp", "#", 7, "integrations[0].url", "is missing"),
        (
            "https://echo.example/mcp",
            "http://echo.example/mcp",
            10,
            "integrations[0].url",
            "plain http to another machine",
        ),
        ("https://echo.example/mcp", "https://u:p@echo.example/mcp", 10, "integrations[0].url", "holds a user"),
        ("https://echo.example/mcp", "https://echo.example/mcp?key=1", 10, "integrations[0].url", "has a query"),
        ("https://echo.example/mcp", "https://echo.example/mcp#x", 10, "integrations[0].url", "has a fragment"),
        ("https://echo.example/mcp", "wss://echo.example/mcp", 10, "integrations[0].url", "not an http"),
        ("transport: streamable-http", "transport: sse", 11, "integrations[0].transport", "`sse` is not supported"),
        ("transport: streamable-http", "transport: stdio", 11, "integrations[0].transport", "no transport"),
        (
            "transport: streamable-http",
            "tool_policy: {}",
            11,
            "integrations[0].tool_policy",
            "not supported by this version",
        ),
        ("transport: streamable-http", "allow_plaintxt: true", 11, "integrations[0].allow_plaintxt", "unknown field"),
        (
            "transport: streamable-http",
            "allow_plaintext: \"yes\"",
            11,
            "integrations[0].allow_plaintext",
            "must be `true`",
        ),
        ("user:Alice@Example.com", "Alice@Example.com", 12, "integrations[0].authorized_subjects[0]", "is no subject"),
        ("user:Alice@Example.com", "user:alice", 12, "integrations[0].authorized_subjects[0]", "no e-mail"),
        ("user:Alice@Example.com", "team:", 12, "integrations[0].authorized_subjects[0]", "is not a name"),
        ("user:Alice@Example.com", "*", 12, "integrations[0].authorized_subjects[0]", "is no subject"),
        ("type: header", "type: none", 14, "integrations[0].auth_data.type", "no `auth_data`"),
        ("type: header", "type: aws-sigv4", 14, "integrations[0].auth_data.type", "not supported by this version"),
        ("type: header", "type: basic", 14, "integrations[0].auth_data.type", "no type of authentication"),
        ("type: header", "type: passthrough", 15, "integrations[0].auth_data.headers", "unknown field"),
        (
            "type: header",
            "type: header\n      auth_level: per_user",
            15,
            "integrations[0].auth_data.auth_level",
            "not supported by this version",
        ),
        ("headers: { X-Api-Key", "header: { X-Api-Key", 15, "integrations[0].auth_data.header", "unknown field"),
        (
            "{ X-Api-Key: \"tfy-secret://demo:keys:echo\" }",
            "{}",
            15,
            "integrations[0].auth_data.headers",
            "sets no header",
        ),
        ("scopes: [read]", "scopes: [read write]", 25, "integrations[1].auth_data.scopes[0]", "is no scope"),
        (
            "client_credentials",
            "token_exchange",
            21,
            "integrations[1].auth_data.grant_type",
            "not supported by this version",
        ),
        ("client_credentials", "password", 21, "integrations[1].auth_data.grant_type", "no grant type"),
        (
            "https://idp.example/token",
            "http://idp.example/token",
            22,
            "integrations[1].auth_data.token_url",
            "plain http",
        ),
        ("client_id: gate", "client: gate", 23, "integrations[1].auth_data.client", "unknown field"),
        ("tfy-secret://demo:keys:analytics", "canary", 24, "integrations[1].auth_data.client_secret", "in clear"),
        (
            "tfy-secret://demo:keys:analytics",
            "tfy-secret://other:keys:a",
            24,
            "integrations[1].auth_data.client_secret",
            "tenant `other`",
        ),
        (
            "tfy-secret://demo:keys:analytics",
            "tfy-secret://demo:keys",
            24,
            "integrations[1].auth_data.client_secret",
            "not three",
        ),
        (
            "include_resource: true",
            "registration_url: https://x",
            26,
            "integrations[1].auth_data.registration_url",
            "not supported",
        ),
        (
            "include_resource: true",
            "client_authentication: certificate",
            26,
            "integrations[1].auth_data.client_authentication",
            "not supported",
        ),
        ("include_resource: true", "jwt_source: id_token", 26, "integrations[1].auth_data.jwt_source", "not supported"),
        (
            "include_resource: true",
            "provider: nobody",
            26,
            "integrations[1].auth_data.provider",
            "no provider that is known",
        ),
        (
            "include_resource: true",
            "additional_token_params: {scope: x}",
            26,
            "integrations[1].auth_data.additional_token_params.scope",
            "not an additional",
        ),
        (
            "include_resource: true",
            "additional_token_params: {a: 'tfy-secret://demo:k:k'}",
            26,
            "integrations[1].auth_data.additional_token_params.a",
            "not supported here",
        ),
    ];
    for (good, bad, line, field, message) in rows {
        assert!(GROUP.contains(good), "{good}");
        let reading = demo(&GROUP.replacen(good, bad, 1));
        let told =
            |problem: &&Problem| problem.line == *line && problem.field == *field && problem.message.contains(message);
        assert!(reading.problems.iter().any(|problem| told(&problem)), "{bad}: {:#?}", reading.problems);
        assert!(!format!("{:?}", reading.problems).contains("canary"), "i9: {bad}");
    }
}

#[test]
fn refuses_headers_that_are_not_the_manifests_to_set() {
    let names = [
        ":authority",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Upgrade",
        "Keep-Alive",
        "Trailer",
        "Proxy-Connection",
        "X-Sallyport-Caller",
        "X-Envoy-Original-Path",
        "X-Forwarded-For",
        "Mcp-Session-Id",
        "Content-Type",
        "Content-Encoding",
        "Accept",
        "Bad Name",
        "Bad:Name",
        "Bäd",
    ];
    for name in names {
        let reading = demo(&GROUP.replace("X-Api-Key", &format!("\"{name}\"")));
        assert_eq!(reading.problems.len(), 1, "{name}: {:#?}", reading.problems);
        assert_eq!(reading.problems[0].line, 15);
    }
}

#[test]
fn refuses_header_values_that_no_header_can_hold_or_no_manifest_should() {
    let rows = [
        (r#""X-Tenant": "a\r\nHost: b""#, "line break"),
        (r#""X-Tenant": "a\nb""#, "line break"),
        (r#""X-Tenant": "a\0b""#, "line break"),
        (r#""X-Tenant": "ä""#, "cannot"),
        (r#""X-Tenant": " a""#, "space"),
        (r#""X-Tenant": """#, "is empty"),
        (r#""X-Tenant": 7"#, "must be text"),
        (r#""X-Tenant": "{{TENANT}}""#, "not supported by this version"),
        (r#""X-Tenant": "Bearer canary""#, "in clear"),
        (r#""Authorization": "canary""#, "in clear"),
        (r#""X-Api-Key": "canary""#, "in clear"),
        (r#""X-Auth-Token": "canary""#, "in clear"),
        (r#""Cookie": "canary""#, "in clear"),
        (r#""X-Tenant": "a", "x-tenant": "b""#, "set twice"),
    ];
    for (headers, message) in rows {
        let reading = demo(&GROUP.replace("X-Api-Key: \"tfy-secret://demo:keys:echo\"", headers));
        assert!(
            reading.problems.iter().any(|problem| problem.message.contains(message)),
            "{headers}: {:#?}",
            reading.problems
        );
        assert!(!format!("{:?}", reading.problems).contains("canary"), "i9: {headers}");
    }
    good(&GROUP.replace("X-Api-Key: \"tfy-secret://demo:keys:echo\"", "X-Tenant: acme"));
    good(&GROUP.replace("X-Api-Key: \"", "Authorization: \"Bearer "));
}

#[test]
fn i12_plain_http_needs_loopback_or_a_word() {
    good(&GROUP.replace("https://echo.example/mcp", "http://[::1]:9/mcp"));
    let plain = GROUP.replace("https://echo.example/mcp", "http://10.0.0.1/mcp");
    assert!(!demo(&plain).problems.is_empty());
    let asked = good(&plain.replace("transport:", "allow_plaintext: true\n    transport:"));
    assert!(asked[0].servers[0].allow_plaintext);
}

#[test]
fn every_problem_of_a_file_is_told() {
    let reading = demo(
        &GROUP.replace("name: demo", "nam: demo").replace("streamable-http", "sse").replace("grant_type", "grant"),
    );
    let fields: Vec<_> = reading.problems.iter().map(|problem| problem.field.as_str()).collect();
    for field in [
        "name",
        "nam",
        "integrations[0].transport",
        "integrations[1].auth_data.grant_type",
        "integrations[1].auth_data.grant",
    ] {
        assert!(fields.contains(&field), "{field}: {fields:?}");
    }
    assert!(reading.manifests.is_empty());
}

#[test]
fn older_spellings_are_read_with_a_warning() {
    let reading = demo(
        &GROUP
            .replace("user:Alice@Example.com", "externalidentity:shop")
            .replace("include_resource: true", "pkce: true"),
    );
    assert!(reading.problems.is_empty(), "{:#?}", reading.problems);
    assert_eq!(reading.warnings.len(), 2);
    assert!(reading.manifests[0].servers[0].subjects.contains(&"external-identity:shop".to_owned()));
}

#[test]
fn a_revision_changes_with_whatever_it_stands_for() {
    let of = |text: &str| good(text)[0].servers.iter().map(|server| server.revision.clone()).collect::<Vec<_>>();
    let auth_of = |text: &str| match &good(text)[0].servers[1].auth {
        Auth::ClientCredentials(client) => client.auth_revision.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(of(GROUP), of(&GROUP.replace("Says what it hears.", "Echo.")));
    assert_ne!(of(GROUP)[0], of(&GROUP.replace("demo:keys:echo", "demo:keys:other"))[0]);
    assert_ne!(of(GROUP)[0], of(&GROUP.replace("team:platform", "team:other"))[0]);
    for (good, bad) in [
        ("https://analytics.example", "https://analytics.example:444"),
        ("https://idp.example/token", "https://idp.example/token2"),
        ("client_id: gate", "client_id: gate2"),
        ("demo:keys:analytics", "demo:keys:other"),
        ("scopes: [read]", "scopes: [read, write]"),
        ("include_resource: true", "include_resource: false"),
        ("include_resource: true", "client_authentication: client_secret_post"),
        ("include_resource: true", "additional_token_params: {a: b}"),
    ] {
        assert_ne!(auth_of(GROUP), auth_of(&GROUP.replace(good, bad)), "{bad}");
    }
    assert_eq!(auth_of(GROUP), auth_of(&GROUP.replace("team:platform", "team:other")));
}
