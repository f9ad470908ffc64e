use super::*;

fn of(token_url: &str) -> &'static str {
    Profile::of_token_url(&token_url.parse().expect("a URL")).name
}

#[test]
fn a_provider_is_known_by_its_token_endpoint() {
    for (token_url, name) in [
        ("https://github.com/login/oauth/access_token", "github"),
        ("https://slack.com/api/oauth.v2.access", "slack"),
        ("https://slack.com/api/oauth.v2.user.access", "slack-user"),
        ("https://oauth2.googleapis.com/token", "google"),
        ("https://login.microsoftonline.com/common/oauth2/v2.0/token", "microsoft"),
        ("https://auth.atlassian.com/oauth/token", "atlassian"),
        ("https://api.notion.com/v1/oauth/token", "notion"),
        ("https://login.salesforce.com/services/oauth2/token", "salesforce"),
        ("https://acme--dev.sandbox.my.salesforce.com/services/oauth2/token", "salesforce"),
    ] {
        assert_eq!(of(token_url), name, "{token_url}");
    }
    for token_url in [
        "https://github.com.evil.example/login/oauth/access_token",
        "https://api.github.com/x",
        "https://evil.example/github.com",
        "https://my.salesforce.com/services/oauth2/token",
        "https://evilmy.salesforce.com/token",
        "https://mcp.notion.com/token",
        "https://slack.com/api/openid.connect.token",
        "https://login.example.com/token",
        "http://127.0.0.1:8080/token",
    ] {
        assert_eq!(of(token_url), "generic", "{token_url}");
    }
}

#[test]
fn every_profile_has_a_name_of_its_own() {
    for profile in ALL {
        assert_eq!(Profile::named(profile.name), Some(profile));
        assert_eq!(ALL.iter().filter(|other| other.name == profile.name).count(), 1, "{}", profile.name);
    }
    assert_eq!(Profile::named("GitHub"), None);
    assert_eq!(Profile::named(""), None);
}

#[test]
fn a_scope_is_granted_that_is_listed_or_that_a_listed_one_includes_and_no_other() {
    let listed = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>();
    let user = listed(&["user", "repo"]);
    for asked in ["user", "user:email", "read:user", "repo", "public_repo", "offline_access"] {
        assert!(GITHUB.has_granted(&user, asked), "{asked}");
    }
    for asked in ["admin:org", "read:org", "User", ""] {
        assert!(!GITHUB.has_granted(&user, asked), "{asked}");
    }
    assert!(!GITHUB.has_granted(&listed(&["user:email"]), "user"), "a part is not the whole");
    assert!(!GENERIC.has_granted(&user, "user:email"), "what is GitHub's is nobody else's");
    assert!(GOOGLE.has_granted(&listed(&["https://www.googleapis.com/auth/userinfo.email"]), "email"));
    assert!(
        GENERIC.has_granted(&listed(&["read"]), "offline_access") && !GENERIC.has_granted(&listed(&["read"]), "write")
    );
}

/// Name, rotation, default life in hours, whether a refresh kills the old access token, where client secrets go.
#[test]
fn what_profiles_say() {
    use ClientAuthentication::{Basic, Post};
    use Rotation::{NonRotating, OldValid, Strict};
    let table: Vec<_> = ALL
        .iter()
        .map(|profile| {
            let hours = profile.default_lifetime.as_secs() / 3600;
            (profile.name, profile.rotation, hours, profile.refresh_kills_access_token, profile.client_authentication)
        })
        .collect();
    let expected = [
        ("atlassian", Strict, 1, false, Post),
        ("generic", Strict, 1, false, Basic),
        ("github", Strict, 8, true, Post),
        ("google", NonRotating, 1, false, Post),
        ("microsoft", OldValid, 1, false, Post),
        ("notion", Strict, 1, false, Basic),
        ("salesforce", Strict, 2, false, Post),
        ("slack", Strict, 12, false, Post),
        ("slack-user", Strict, 12, false, Post),
    ];
    assert_eq!(table, expected);
}

#[test]
fn every_place_to_revoke_or_manage_is_https() {
    let token_url: Url = "https://login.example.com/token".parse().expect("a URL");
    for profile in ALL {
        for url in [profile.revocation_url, profile.manage_url].into_iter().flatten() {
            assert_eq!(token_url.join(url).expect("a URL").scheme(), "https", "{url}");
        }
        match profile.api {
            Api::At(root) => assert!(root.starts_with("https://") && root.ends_with('/'), "{root}"),
            Api::GitHub | Api::Unknown => {}
        }
    }
}

#[test]
fn only_the_providers_own_tokens_go_to_its_place_of_revocation() {
    let url = |text: &str| text.parse::<Url>().expect("a URL");
    let gate = Secret::new("gate/../1");
    let own = url("https://oauth2.googleapis.com/token");
    assert_eq!(GOOGLE.revocation_url(None, &own, &gate), Some(url("https://oauth2.googleapis.com/revoke")));
    assert_eq!(GOOGLE.revocation_url(None, &url("https://login.example.com/token"), &gate), None);
    let configured = url("https://login.example.com/revoke");
    assert_eq!(GOOGLE.revocation_url(Some(&configured), &own, &gate), Some(configured.clone()));
    let github = url("https://github.com/login/oauth/access_token");
    let expected = url("https://api.github.com/applications/gate%2F..%2F1/token");
    assert_eq!(GITHUB.revocation_url(None, &github, &gate), Some(expected));
    assert_eq!(GITHUB.revocation_url(None, &url("https://login.example.com/token"), &gate), None);
    let sandbox = url("https://test.salesforce.com/services/oauth2/token");
    let expected = url("https://test.salesforce.com/services/oauth2/revoke");
    assert_eq!(SALESFORCE.revocation_url(None, &sandbox, &gate), Some(expected));
}
