//! The harness's browser sees what gets through, and would show it if it ran.

use e2e::{Answer, Chromium, Provider, Upstream, provider::Decision, run};
use url::Url;

use crate::browser::{CALLBACK, asking_with};

const HOSTILE: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>";

#[test]
fn a_person_presses_the_providers_button_and_its_page_shows_hostile_text_inert() {
    run(async {
        let provider = Provider::start().await;
        provider.decide(Decision::Ask);
        let back = Upstream::start().await;
        back.answer(|_| Answer::status(200).header("content-type", "text/html").body("<p>Welcome back</p>"));
        let mut asking = asking_with(&provider, "scope", Some(HOSTILE));
        asking.iter_mut().filter(|(_, value)| value == CALLBACK).for_each(|(_, value)| value.clone_from(&back.url));
        let alice = Chromium::person().await;
        alice.opens(Url::parse_with_params(&provider.authorization_url(), asking).unwrap().as_str()).await;
        alice.sees(HOSTILE).await;
        let page = alice.looks().await;
        assert!(page.ran.is_empty() && !page.elements.contains(&"img".to_owned()), "{page:?}");
        alice.presses("Approve").await;
        alice.sees("Welcome back").await;
        assert!(alice.looks().await.url.contains("code="));
        alice.leaves().await;
    });
}

#[test]
fn a_script_that_a_page_lets_in_is_seen_to_run_and_an_element_to_be_there() {
    run(async {
        let careless = Upstream::start().await;
        careless.answer(|_| Answer::status(200).header("content-type", "text/html").body(HOSTILE));
        let alice = Chromium::person().await;
        alice.opens(&careless.url).await;
        let page = alice.looks().await;
        assert!(page.ran.contains(&"2".to_owned()) && page.elements.contains(&"img".to_owned()), "{page:?}");
        alice.leaves().await;
    });
}

#[test]
fn each_person_has_cookies_of_their_own_and_a_host_cookie_is_kept_on_loopback() {
    run(async {
        let site = Upstream::start().await;
        site.answer(|_| Answer::status(200).header("set-cookie", "__Host-a=b; Path=/; Secure; HttpOnly; SameSite=Lax"));
        let (alice, bob) = (Chromium::person().await, Chromium::person().await);
        alice.opens(&site.url).await;
        let kept = alice.cookies().await;
        assert!(
            matches!(&kept[..], [cookie] if cookie.name == "__Host-a" && cookie.http_only && cookie.secure),
            "{kept:?}"
        );
        assert!(bob.cookies().await.is_empty());
        alice.leaves().await;
        bob.leaves().await;
    });
}
