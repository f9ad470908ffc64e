//! People at a real browser. It is driven from outside (`counterparts/browser.mjs`); what a page lets in shows in [`Seen`].

use std::{process::Command, sync::LazyLock};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    Browser, Child,
    clients::{counterpart, first_line},
    consent::SESSION,
    dir::Dir,
    setup,
    setup::root,
};

/// The browser.
pub struct Chromium {
    url: String,
    http: reqwest::Client,
    // Chromium ends with its driver, and leaves nothing outside the directory.
    _driver: Child,
    _dir: Dir,
}

/// One person: cookies of their own, and one tab. Whatever they wait for comes within seconds, or the test fails.
pub struct Person {
    id: String,
}

/// What a person has before their eyes, and behind it.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    /// Where they are.
    pub url: String,
    /// Status of the last page.
    pub status: u16,
    /// Its headers, as name and value.
    #[serde(deserialize_with = "headers")]
    pub headers: HeaderMap,
    /// Its text.
    pub text: String,
    /// Its title.
    pub title: String,
    /// The name of every element on it.
    pub elements: Vec<String>,
    /// What scripts of this person's pages have shown so far.
    pub ran: Vec<String>,
    /// Every URL this person's pages have asked for so far.
    pub asked: Vec<String>,
}

/// A cookie that a browser keeps.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where it is sent.
    pub path: String,
    /// Until when, in seconds since 1970; -1 if until the browser ends.
    pub expires: f64,
    /// Scripts do not see it.
    pub http_only: bool,
    /// It goes over TLS or on loopback only.
    pub secure: bool,
    /// `Strict`, `Lax` or `None`.
    pub same_site: String,
}

static SHARED: LazyLock<OnceCell<Chromium>> = LazyLock::new(OnceCell::new);

impl Chromium {
    /// The browser that the tests of one binary share.
    async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// Somebody who has never been anywhere.
    pub async fn person() -> Person {
        let id = Self::shared().await.step(&json!({"do": "arrive"})).await;
        Person { id }
    }

    async fn start() -> Self {
        let Some(chromium) = &setup().chromium else { panic!("Chromium is missing; run `cargo xtask setup`") };
        let dir = Dir::new();
        let mut command = Command::new(&setup().node);
        command.arg(counterpart("browser.mjs")).arg("--chromium").arg(chromium);
        command.env("SALLYPORT_NODE_MODULES", &setup().node_modules).env("TMPDIR", dir.path());
        let driver = Child::start(command, &dir.path().join("browser.log"));
        let url = first_line(&driver).await["url"].as_str().expect("its URL").to_owned();
        Self { url, http: reqwest::Client::new(), _driver: driver, _dir: dir }
    }

    async fn step<T: DeserializeOwned>(&self, step: &Value) -> T {
        let answer = self.http.post(&self.url).json(step).send().await.expect("the driver listens");
        let mut answer: Value = answer.json().await.expect("JSON");
        if let Some(error) = answer["error"].as_str() {
            panic!("{error}");
        }
        serde_json::from_value(answer["value"].take()).unwrap_or_else(|error| panic!("{step}: {error}"))
    }
}

impl Person {
    /// Opens a page.
    pub async fn opens(&self, url: &str) {
        self.step(json!({"do": "open", "url": url})).await
    }

    /// Presses the button, or follows the link, of this name.
    pub async fn presses(&self, name: &str) {
        self.step(json!({"do": "press", "name": name})).await
    }

    /// Types into the field of this label or placeholder.
    pub async fn types(&self, field: &str, text: &str) {
        self.step(json!({"do": "type", "field": field, "text": text})).await
    }

    /// Waits until a page shows this text.
    pub async fn sees(&self, text: &str) {
        self.step(json!({"do": "see", "text": text})).await
    }

    /// Waits until they are at a URL that begins like this.
    pub async fn is_at(&self, prefix: &str) {
        self.step(json!({"do": "be_at", "prefix": prefix})).await
    }

    /// Looks at the page, once it is loaded.
    pub async fn looks(&self) -> Seen {
        self.step(json!({"do": "look"})).await
    }

    /// The cookies that their browser keeps.
    pub async fn cookies(&self) -> Vec<Cookie> {
        self.step(json!({"do": "cookies"})).await
    }

    /// Takes a picture for the documents, where that is asked for (`SALLYPORT_SCREENSHOTS=1`).
    pub async fn takes_a_picture(&self, name: &str) {
        if std::env::var_os("SALLYPORT_SCREENSHOTS").is_some() {
            let file = root().join("docs/images").join(name).with_extension("png");
            self.step(json!({"do": "picture", "file": file})).await
        }
    }

    /// Is signed in at the gateway in this window as in that browser.
    ///
    /// # Panics
    /// When that browser is not signed in.
    pub async fn sits_down_as(&self, browser: &Browser, gate: &str) {
        let url = gate.parse().expect("a URL");
        let value = browser.cookie(&url, SESSION).expect("it is signed in");
        self.step(json!({"do": "keep", "url": gate, "name": SESSION, "value": value})).await
    }

    /// Ticks the only box.
    pub async fn ticks(&self) {
        self.step(json!({"do": "tick"})).await
    }

    /// Closes their browser.
    pub async fn leaves(self) {
        self.step(json!({"do": "leave"})).await
    }

    async fn step<T: DeserializeOwned>(&self, mut step: Value) -> T {
        step["person"] = self.id.clone().into();
        Chromium::shared().await.step(&step).await
    }
}

fn headers<'de, D: serde::Deserializer<'de>>(from: D) -> Result<HeaderMap, D::Error> {
    #[derive(Deserialize)]
    struct Header {
        name: String,
        value: String,
    }
    let mut headers = HeaderMap::new();
    for Header { name, value } in Vec::deserialize(from)? {
        let name = HeaderName::try_from(name).map_err(serde::de::Error::custom)?;
        headers.append(name, HeaderValue::try_from(value).map_err(serde::de::Error::custom)?);
    }
    Ok(headers)
}
