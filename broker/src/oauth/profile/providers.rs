//! The providers.

use std::time::Duration;

use super::{AccountRequest, Api, GrantedScopes, Profile, RevocationStyle, Rotation};
use crate::model::ClientAuthentication;
use crate::oauth::RefusalCode;

const HOUR: Duration = Duration::from_secs(3600);

/// Any provider: assumed to be as strict as one can be, so that nothing is lost at it.
pub static GENERIC: Profile = STRICT;

const STRICT: Profile = Profile {
    name: "generic",
    token_endpoints: &[],
    rotation: Rotation::Strict,
    default_lifetime: HOUR,
    refresh_kills_access_token: false,
    client_authentication: ClientAuthentication::Basic,
    scope_parameter: "scope",
    scope_separator: " ",
    // RFC 6749 §3.3 says space; some answer with commas, which no provider is known to use inside a scope.
    answer_separators: &[' ', ','],
    granted_scopes: GrantedScopes::Listed(&[]),
    authorization_params: &[],
    nested: None,
    account: &[],
    account_request: None,
    refusals: &[],
    api: Api::Unknown,
    revocation: RevocationStyle::Rfc7009,
    revocation_url: None,
    manage_url: None,
};

/// GitHub Apps, and OAuth apps, whose tokens do not expire; also on an Enterprise Server, where manifests name the profile.
///
/// Revoked is the access token (GitHub Docs, REST API endpoints for OAuth authorizations: "Delete an app token"). Not the whole
/// authorization (`/grant`): other grants of the same account would end with it, such as that of a virtual account.
pub static GITHUB: Profile = Profile {
    name: "github",
    token_endpoints: &["github.com", "*.ghe.com"],
    default_lifetime: Duration::from_secs(8 * 3600),
    refresh_kills_access_token: true,
    client_authentication: ClientAuthentication::Post,
    granted_scopes: GrantedScopes::Listed(GITHUB_SCOPES),
    // A login can be changed, and taken by somebody else then.
    account_request: Some(AccountRequest { path: &["user"], id: "id", name: "login", scopes: &[] }),
    refusals: &[
        ("bad_refresh_token", RefusalCode::InvalidGrant),
        ("bad_verification_code", RefusalCode::InvalidGrant),
        ("incorrect_client_credentials", RefusalCode::InvalidClient),
        ("redirect_uri_mismatch", RefusalCode::InvalidRequest),
    ],
    api: Api::GitHub,
    revocation: RevocationStyle::AppToken,
    manage_url: Some("https://github.com/settings/apps/authorizations"),
    ..STRICT
};

/// GitHub leaves out of its answer what another scope of the request includes ("normalized scopes", GitHub Docs, Scopes for
/// OAuth apps).
const GITHUB_SCOPES: &[(&str, &str)] = &[
    ("repo", "repo:status"),
    ("repo", "repo_deployment"),
    ("repo", "public_repo"),
    ("repo", "repo:invite"),
    ("repo", "security_events"),
    ("admin:repo_hook", "write:repo_hook"),
    ("admin:repo_hook", "read:repo_hook"),
    ("write:repo_hook", "read:repo_hook"),
    ("admin:org", "write:org"),
    ("admin:org", "read:org"),
    ("write:org", "read:org"),
    ("admin:public_key", "write:public_key"),
    ("admin:public_key", "read:public_key"),
    ("write:public_key", "read:public_key"),
    ("user", "read:user"),
    ("user", "user:email"),
    ("user", "user:follow"),
    ("project", "read:project"),
    ("write:packages", "read:packages"),
    ("admin:gpg_key", "write:gpg_key"),
    ("admin:gpg_key", "read:gpg_key"),
    ("write:gpg_key", "read:gpg_key"),
    ("write:discussion", "read:discussion"),
    ("audit_log", "read:audit_log"),
];

/// Slack, by `oauth.v2.access`: the person's own token is nested, the outer one is a bot's.
pub static SLACK: Profile = Profile {
    name: "slack",
    token_endpoints: &["slack.com/api/oauth.v2.access"],
    scope_parameter: "user_scope",
    scope_separator: ",",
    nested: Some("authed_user"),
    ..SLACK_USER_TOKENS
};

/// Slack, by `oauth.v2.user.access`, which gives people's tokens only and asks for scopes as everybody does.
pub static SLACK_USER: Profile = SLACK_USER_TOKENS;

const SLACK_USER_TOKENS: Profile = Profile {
    name: "slack-user",
    token_endpoints: &["slack.com/api/oauth.v2.user.access"],
    default_lifetime: Duration::from_secs(12 * 3600),
    client_authentication: ClientAuthentication::Post,
    account: &[&["team", "id"], &["enterprise", "id"], &["authed_user", "id"], &["user_id"]],
    refusals: &[
        ("account_inactive", RefusalCode::InvalidGrant),
        ("code_already_used", RefusalCode::InvalidGrant),
        ("invalid_code", RefusalCode::InvalidGrant),
        ("invalid_refresh_token", RefusalCode::InvalidGrant),
        ("token_expired", RefusalCode::InvalidGrant),
        ("token_revoked", RefusalCode::InvalidGrant),
        ("bad_client_secret", RefusalCode::InvalidClient),
        ("invalid_client_id", RefusalCode::InvalidClient),
        ("bad_redirect_uri", RefusalCode::InvalidRequest),
        ("invalid_grant_type", RefusalCode::UnsupportedGrantType),
    ],
    revocation: RevocationStyle::Bearer,
    revocation_url: Some("https://slack.com/api/auth.revoke"),
    ..STRICT
};

/// Google: a refresh token comes with a consent and not with a refresh.
pub static GOOGLE: Profile = Profile {
    name: "google",
    token_endpoints: &["oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com"],
    rotation: Rotation::NonRotating,
    client_authentication: ClientAuthentication::Post,
    granted_scopes: GrantedScopes::Listed(&[
        ("https://www.googleapis.com/auth/userinfo.email", "email"),
        ("https://www.googleapis.com/auth/userinfo.profile", "profile"),
    ]),
    authorization_params: &[("access_type", "offline"), ("prompt", "consent")],
    // By the same `sub` as in an ID token, which comes with `openid` alone.
    account_request: Some(AccountRequest {
        path: &["v1", "userinfo"],
        id: "sub",
        name: "email",
        scopes: &[
            "openid",
            "email",
            "profile",
            "https://www.googleapis.com/auth/userinfo.email",
            "https://www.googleapis.com/auth/userinfo.profile",
        ],
    }),
    api: Api::At("https://openidconnect.googleapis.com/"),
    revocation_url: Some("https://oauth2.googleapis.com/revoke"),
    manage_url: Some("https://myaccount.google.com/connections"),
    ..STRICT
};

/// Microsoft Entra. It revokes no single token; `offline_access` is asked for, and never listed.
pub static MICROSOFT: Profile = Profile {
    name: "microsoft",
    token_endpoints: &["login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn"],
    rotation: Rotation::OldValid,
    client_authentication: ClientAuthentication::Post,
    granted_scopes: GrantedScopes::Renamed,
    refusals: &[
        ("interaction_required", RefusalCode::InvalidGrant),
        ("consent_required", RefusalCode::InvalidGrant),
        ("login_required", RefusalCode::InvalidGrant),
        ("invalid_resource", RefusalCode::InvalidTarget),
    ],
    manage_url: Some("https://myapps.microsoft.com"),
    ..STRICT
};

/// Atlassian: one pair for all its products. It has a window for reuse of a refresh token, of unknown length, which is
/// not counted on. Has no documented endpoint for revocation.
pub static ATLASSIAN: Profile = Profile {
    name: "atlassian",
    token_endpoints: &["auth.atlassian.com"],
    client_authentication: ClientAuthentication::Post,
    authorization_params: &[("audience", "api.atlassian.com"), ("prompt", "consent")],
    account_request: Some(AccountRequest { path: &["me"], id: "account_id", name: "email", scopes: &["read:me"] }),
    api: Api::At("https://api.atlassian.com/"),
    refusals: &[
        // Under status 403, for a refresh token that is used up or revoked.
        ("unauthorized_client", RefusalCode::InvalidGrant),
        ("access_denied", RefusalCode::InvalidClient),
    ],
    manage_url: Some("https://id.atlassian.com/manage-profile/apps"),
    ..STRICT
};

/// Notion's API. Its account is a person in a workspace; `bot_id` is another with every consent.
pub static NOTION: Profile = Profile {
    name: "notion",
    token_endpoints: &["api.notion.com"],
    authorization_params: &[("owner", "user")],
    account: &[&["workspace_id"], &["owner", "user", "id"]],
    revocation_url: Some("https://api.notion.com/v1/oauth/revoke"),
    ..STRICT
};

/// Salesforce: tells no life of its tokens; whether it rotates is up to the application's settings.
pub static SALESFORCE: Profile = Profile {
    name: "salesforce",
    token_endpoints: &["login.salesforce.com", "test.salesforce.com", "*.my.salesforce.com"],
    default_lifetime: Duration::from_secs(2 * 3600),
    client_authentication: ClientAuthentication::Post,
    account: &[&["id"]],
    refusals: &[
        ("inactive_user", RefusalCode::InvalidGrant),
        ("inactive_org", RefusalCode::InvalidGrant),
        ("invalid_client_id", RefusalCode::InvalidClient),
        ("invalid_client_credentials", RefusalCode::InvalidClient),
        ("redirect_uri_mismatch", RefusalCode::InvalidRequest),
    ],
    revocation_url: Some("/services/oauth2/revoke"),
    ..STRICT
};

/// Every profile.
pub static ALL: [&Profile; 9] =
    [&ATLASSIAN, &GENERIC, &GITHUB, &GOOGLE, &MICROSOFT, &NOTION, &SALESFORCE, &SLACK, &SLACK_USER];
