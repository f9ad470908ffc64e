//! How long a token lives that nobody told: RFC 7662. Asked after the token is stored, and believed in nothing else.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::endpoint::{Client, Form, MAX_ANSWER, TokenEndpoint};
use crate::clock::UnixTime;
use crate::secret::Secret;

/// What is read of an answer (RFC 7662 §2.2).
#[derive(Deserialize)]
struct Introspected {
    active: bool,
    exp: Option<u64>,
    iat: Option<u64>,
}

/// When a token expires by our clock, if the provider says. `issued_at` is from before the token was asked for.
pub async fn expires_at(
    endpoint: &dyn TokenEndpoint,
    url: &Url,
    client: Client<'_>,
    access_token: &Secret,
    issued_at: UnixTime,
    deadline: Duration,
) -> Option<UnixTime> {
    let (headers, form) = signed(client, access_token);
    let answer = match endpoint.post_form(url, headers, form, MAX_ANSWER, deadline).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(host = url.host_str(), %error, "the introspection endpoint gives no answer");
            return None;
        }
    };
    // Exposed to be read; nothing of it is kept but two numbers.
    let read = (answer.status == 200).then(|| serde_json::from_slice::<Introspected>(answer.body.expose()).ok());
    let Some(Introspected { active: true, exp: Some(exp), iat }) = read.flatten() else {
        tracing::warn!(host = url.host_str(), status = answer.status, "an introspection tells no life");
        return None;
    };
    // By the provider's own clock, where it tells when that began.
    Some(match iat.filter(|iat| *iat < exp) {
        Some(iat) => issued_at.after(Duration::from_secs(exp - iat)),
        None => UnixTime(exp.saturating_mul(1000)),
    })
}

fn signed(client: Client<'_>, access_token: &Secret) -> (Vec<(&'static str, Secret)>, Secret) {
    let mut headers = vec![("accept", Secret::new("application/json"))];
    let mut secrets = vec![access_token, client.id];
    secrets.extend(client.secret);
    let mut form = Form::with_room_for(&secrets);
    form.append_secret("token", access_token);
    form.append("token_type_hint", "access_token");
    client.sign(&mut headers, &mut form);
    (headers, form.finish())
}
