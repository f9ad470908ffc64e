//! A client of the provider as the broker is one: asks for a code, redeems it, refreshes.

use e2e::{
    Provider,
    provider::{Family, challenge},
};
use serde_json::Value;
use url::Url;

pub(crate) const CALLBACK: &str = "https://gate.example/oauth/callback/0";
pub(crate) const VERIFIER: &str = "a-verifier-of-43-characters-at-least-0123456789";

/// What a request got.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answered {
    pub(crate) fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("{name} in {self:?}")).to_owned()
    }

    #[track_caller]
    pub(crate) fn assert_refused(&self, error: &str) {
        assert_eq!((self.body["error"].as_str(), self.body.get("access_token")), (Some(error), None), "{self:?}");
    }
}

/// The parameters of a good authorization request.
pub(crate) fn asking(provider: &Provider) -> Vec<(String, String)> {
    let challenge = challenge(VERIFIER);
    let parameters = [
        ("response_type", "code"),
        ("client_id", &provider.client_id),
        ("redirect_uri", CALLBACK),
        ("scope", "notes:read"),
        ("state", "state-1"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// The same without one of them, or with another value.
pub(crate) fn asking_with(provider: &Provider, name: &str, value: Option<&str>) -> Vec<(String, String)> {
    let mut parameters = asking(provider);
    parameters.retain(|(given, _)| given != name);
    parameters.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    parameters
}

/// Where a browser is sent; none if it is shown a page.
pub(crate) async fn open(provider: &Provider, parameters: &[(String, String)]) -> (u16, Option<Url>) {
    let url = Url::parse_with_params(&provider.authorization_url(), parameters).unwrap();
    let answer = browser().get(url).send().await.unwrap();
    let location = answer.headers().get("location").map(|location| Url::parse(location.to_str().unwrap()).unwrap());
    (answer.status().as_u16(), location)
}

pub(crate) fn browser() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

pub(crate) fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
}

pub(crate) async fn code(provider: &Provider) -> String {
    let (_, location) = open(provider, &asking(provider)).await;
    parameter(&location.unwrap(), "code").unwrap()
}

/// A token request with the secret in the body; an error if the connection was cut.
pub(crate) async fn try_ask(provider: &Provider, form: &[(&str, &str)]) -> reqwest::Result<Answered> {
    let mut form = form.to_vec();
    form.extend([("client_id", provider.client_id.as_str()), ("client_secret", &provider.client_secret)]);
    let answer = browser().post(provider.token_url()).form(&form).send().await?;
    let status = answer.status().as_u16();
    let body = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
    Ok(Answered { status, body })
}

pub(crate) async fn ask(provider: &Provider, form: &[(&str, &str)]) -> Answered {
    try_ask(provider, form).await.unwrap()
}

pub(crate) async fn redeem(provider: &Provider, code: &str) -> Answered {
    redeem_with(provider, code, CALLBACK, VERIFIER).await
}

pub(crate) async fn redeem_with(provider: &Provider, code: &str, redirect_uri: &str, verifier: &str) -> Answered {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", verifier),
    ];
    ask(provider, &form).await
}

pub(crate) async fn refresh(provider: &Provider, token: &str) -> Answered {
    ask(provider, &refreshing(token)).await
}

pub(crate) fn refreshing(token: &str) -> [(&str, &str); 2] {
    [("grant_type", "refresh_token"), ("refresh_token", token)]
}

/// Access and refresh token of a person who has just approved.
pub(crate) async fn consented(provider: &Provider) -> (String, String) {
    let answer = redeem(provider, &code(provider).await).await;
    (answer.text("access_token"), answer.text("refresh_token"))
}

pub(crate) fn family(provider: &Provider) -> Family {
    provider.family_of("alice").unwrap()
}
