use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::oauth::endpoint::{Answer, NoAnswer};
use crate::oauth::profile::{ALL, ATLASSIAN, GENERIC, GITHUB, GOOGLE, NOTION, SLACK};

const GITHUB_COM: &str = "https://github.com/login/oauth/access_token";

/// Answers as told, and keeps what it was asked.
struct Endpoint {
    answer: Option<(u16, String)>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl TokenEndpoint for Endpoint {
    async fn ask(&self, request: Request<'_>, most: usize, _: Duration) -> Result<Answer, NoAnswer> {
        let headers = request.headers.iter().map(|(name, value)| format!("{name}: {}", value.expose_str().unwrap()));
        let asked = format!("{} {}\n{}", request.method, request.url, headers.collect::<Vec<_>>().join("\n"));
        assert!(request.body.is_none() && most == MAX_ANSWER);
        self.asked.lock().unwrap().push(asked);
        let (status, body) = self.answer.clone().ok_or_else(|| NoAnswer::Failed("reset".into()))?;
        Ok(Answer { status, content_type: None, retry_after: None, body: Secret::new(body) })
    }
}

fn question(profile: &'static Profile, token_url: &str, scopes: &[&str]) -> Option<Question> {
    let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    Question::of(profile, &token_url.parse().unwrap(), &scopes)
}

async fn told(profile: &'static Profile, token_url: &str, scopes: &[&str], status: u16, body: &str) -> Option<String> {
    let endpoint = Endpoint { answer: Some((status, body.to_owned())), asked: Mutex::default() };
    let question = question(profile, token_url, scopes).expect("it can be asked");
    question.ask(&endpoint, &Secret::new("a1"), Duration::from_secs(1)).await
}

async fn at_github(status: u16, body: &str) -> Option<String> {
    told(&GITHUB, GITHUB_COM, &[], status, body).await
}

#[tokio::test]
async fn github_is_asked_at_its_own_api_with_the_token_and_nothing_else() {
    for (token_url, url) in [
        (GITHUB_COM, "https://api.github.com/user"),
        ("https://acme.ghe.com/login/oauth/access_token", "https://api.acme.ghe.com/user"),
        ("https://git.example.com/login/oauth/access_token", "https://git.example.com/api/v3/user"),
    ] {
        let answer = Some((200, r#"{"id":583231,"login":"octocat"}"#.to_owned()));
        let endpoint = Endpoint { answer, asked: Mutex::default() };
        let question = question(&GITHUB, token_url, &["repo"]).unwrap();
        let account = question.ask(&endpoint, &Secret::new("a1"), Duration::from_secs(1)).await;
        assert_eq!(account.as_deref(), Some("583231 octocat"));
        let asked = format!("GET {url}\naccept: application/json\nauthorization: Bearer a1");
        assert_eq!(endpoint.asked.into_inner().unwrap(), [asked]);
    }
}

#[tokio::test]
async fn others_are_asked_where_a_scope_that_was_granted_lets_them_answer() {
    const ATLASSIAN_TOKENS: &str = "https://auth.atlassian.com/oauth/token";
    const GOOGLE_TOKENS: &str = "https://oauth2.googleapis.com/token";
    let body = r#"{"account_id":"712020:a1","email":"a@example.com","name":"A"}"#;
    let me = told(&ATLASSIAN, ATLASSIAN_TOKENS, &["read:me"], 200, body).await;
    assert_eq!(me.as_deref(), Some("712020:a1 a@example.com"));
    let info = told(&GOOGLE, GOOGLE_TOKENS, &["email"], 200, r#"{"sub":"1107","email":"a@example.com"}"#).await;
    assert_eq!(info.as_deref(), Some("1107 a@example.com"));
    assert!(question(&ATLASSIAN, ATLASSIAN_TOKENS, &["read:jira-work"]).is_none());
    assert!(question(&GOOGLE, GOOGLE_TOKENS, &["https://www.googleapis.com/auth/drive"]).is_none());
}

#[test]
fn a_borrowed_profile_shows_no_token_to_the_provider_it_is_from() {
    for profile in ALL {
        let scopes = ["read:me", "openid", "email", "profile"];
        assert!(question(profile, "https://login.example.com/token", &scopes).is_none(), "{}", profile.name);
    }
    for names_it_itself in [&GENERIC, &NOTION, &SLACK] {
        assert!(names_it_itself.account_request.is_none(), "{}", names_it_itself.name);
    }
}

#[tokio::test]
async fn an_answer_that_names_no_account_is_none() {
    for (status, body) in [
        (200, ""),
        (200, "null"),
        (200, "[]"),
        (200, "<html>"),
        (200, "{}"),
        (200, r#"{"login":"octocat"}"#),
        (200, r#"{"id":null,"login":"octocat"}"#),
        (200, r#"{"id":"","login":"octocat"}"#),
        (200, r#"{"id":"with space"}"#),
        (200, r#"{"id":"\u0000"}"#),
        (200, r#"{"id":0}"#),
        (200, r#"{"id":-1}"#),
        (200, r#"{"id":1.5}"#),
        (200, r#"{"id":1e300}"#),
        (200, r#"{"id":{"id":1}}"#),
        (200, r#"{"id":true}"#),
        (200, r#"{"id":1,"id":2}"#),
        (401, r#"{"id":1,"login":"octocat"}"#),
        (302, r#"{"id":1,"login":"octocat"}"#),
        (500, r#"{"id":1,"login":"octocat"}"#),
    ] {
        assert_eq!(at_github(status, body).await, None, "{status} {body}");
    }
    let nobody = Endpoint { answer: None, asked: Mutex::default() };
    let question = question(&GITHUB, GITHUB_COM, &[]).unwrap();
    assert_eq!(question.ask(&nobody, &Secret::new("a1"), Duration::from_secs(1)).await, None);
}

#[tokio::test]
async fn o7_a_name_is_visible_and_short_or_left_out() {
    for name in [String::new(), " ".to_owned(), "\u{202e}x".to_owned(), "a\nb".to_owned(), "x".repeat(101)] {
        let body = serde_json::json!({"id": 7, "login": name}).to_string();
        assert_eq!(at_github(200, &body).await.as_deref(), Some("7"), "{name:?}");
    }
    assert_eq!(at_github(200, r#"{"id":7,"login":"a b"}"#).await.as_deref(), Some("7 a b"));
}

#[test]
fn o12_an_account_is_the_same_whatever_it_is_called_now() {
    assert!(is_same("583231 octocat", "583231 renamed") && is_same("583231", "583231 octocat"));
    assert!(!is_same("583231 octocat", "583232 octocat") && !is_same("58323 1", "583231"));
    assert_eq!((shown("583231 octocat"), shown("U1")), ("octocat (583231)".to_owned(), "U1".to_owned()));
}
