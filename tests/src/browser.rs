//! What a browser does without showing anything: keeps cookies, follows redirects one at a time, sends forms.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use reqwest::{Response, redirect::Policy};
use url::Url;

use crate::Page;

/// One person's browser.
pub struct Browser {
    /// Their name at every identity provider; nobody's, if empty.
    pub login: String,
    http: reqwest::Client,
    /// Values by host, port and name. Paths do not matter: no two cookies of a counterpart differ in nothing else.
    cookies: Mutex<BTreeMap<(String, String), String>>,
}

impl Default for Browser {
    fn default() -> Self {
        let http = reqwest::Client::builder().redirect(Policy::none()).build().expect("it needs nothing");
        Self { login: String::new(), http, cookies: Mutex::default() }
    }
}

impl Browser {
    /// The browser of this person, who has never been anywhere.
    pub fn of(login: &str) -> Self {
        Self { login: login.to_owned(), ..Self::default() }
    }

    /// Opens a page, and follows nothing.
    pub async fn get(&self, url: &Url) -> Page {
        self.send(url, self.http.get(url.clone())).await
    }

    /// Sends a form, and follows nothing.
    pub async fn post(&self, url: &Url, form: &[(&str, &str)]) -> Page {
        self.send(url, self.http.post(url.clone()).form(form)).await
    }

    /// Presses a button as its page shows it, and follows nothing.
    ///
    /// # Panics
    /// When there is no such button.
    pub async fn press(&self, page: &Page, button: &str) -> Page {
        let form = page.form(button).unwrap_or_else(|| panic!("a button {button}: {page:?}"));
        let site = if form.action.origin() == page.url.origin() { "same-origin" } else { "cross-site" };
        let request = self.http.post(form.action.clone()).form(&form.fields).header("sec-fetch-site", site);
        self.send(&form.action, request).await
    }

    /// Goes wherever pages lead by themselves.
    pub async fn go_on(&self, mut page: Page) -> Page {
        while let Some(next) = page.location() {
            page = self.get(&next).await;
        }
        page
    }

    /// Follows redirects for as long as they stay at the page's origin: ends at a page, or at one that leads away.
    pub async fn follow(&self, mut page: Page) -> Page {
        while let Some(next) = page.location().filter(|next| next.origin() == page.url.origin()) {
            page = self.get(&next).await;
        }
        page
    }

    /// A cookie that it holds for this place.
    pub fn cookie(&self, url: &Url, name: &str) -> Option<String> {
        self.jar().get(&(place(url), name.to_owned())).cloned()
    }

    /// Whether it holds a cookie of this name for this place.
    pub fn has_cookie(&self, url: &Url, name: &str) -> bool {
        self.cookie(url, name).is_some()
    }

    /// The values of its cookies for this place.
    pub fn cookies(&self, url: &Url) -> Vec<String> {
        let place = place(url);
        self.jar().iter().filter(|((of, _), _)| *of == place).map(|(_, value)| value.clone()).collect()
    }

    async fn send(&self, url: &Url, request: reqwest::RequestBuilder) -> Page {
        let cookies = self.cookies_for(url);
        let answer = request.header("cookie", cookies).send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
        self.keep_cookies(url, &answer);
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Page { url: url.clone(), status, headers, text: answer.text().await.unwrap_or_default() }
    }

    fn cookies_for(&self, url: &Url) -> String {
        let place = place(url);
        let jar = self.jar();
        let own = jar.iter().filter(|((of, _), _)| *of == place);
        let own = own.map(|((_, name), value)| format!("{name}={value}"));
        // Our own provider asks nobody who they are; this tells it.
        let account = (!self.login.is_empty()).then(|| format!("account={}", self.login));
        own.chain(account).collect::<Vec<_>>().join("; ")
    }

    fn keep_cookies(&self, url: &Url, answer: &Response) {
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap_or_default();
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let attributes = attributes.to_ascii_lowercase();
            let key = (place(url), name.trim().to_owned());
            if value.is_empty() || attributes.contains("max-age=0") || attributes.contains("expires=thu, 01 jan 1970") {
                self.jar().remove(&key);
            } else {
                self.jar().insert(key, value.to_owned());
            }
        }
    }

    fn jar(&self) -> MutexGuard<'_, BTreeMap<(String, String), String>> {
        self.cookies.lock().expect("no holder panics")
    }
}

fn place(url: &Url) -> String {
    url.authority().to_owned()
}
