//! What others wrote never becomes markup, and never an address to go to.

use super::*;

/// Written by providers, manifests or whoever makes a URL.
pub(super) const HOSTILE: [&str; 30] = [
    "<script>alert(1)</script>",
    "\"><script>alert(1)</script>",
    "'><img src=x onerror=alert(1)>",
    "</p></main></body><script>alert(1)</script>",
    "</code></li></ul><form action=https://evil.example>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "<style>*{display:none}</style>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example>",
    "<iframe src=https://evil.example>",
    "<svg/onload=alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "<!--",
    "--><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "&amp;lt;script&amp;gt;",
    "{{7*7}}${7*7}<%=7*7%>",
    "\" onmouseover=\"alert(1)",
    "' onfocus='alert(1)' autofocus='",
    "` onload=`alert(1)",
    "<ScRiPt>alert(1)</sCrIpT>",
    "<script\u{c}>alert(1)</script>",
    "\u{202e}txt.exe<b>",
    "\u{ff1c}script\u{ff1e}alert(1)",
    "\0<script>alert(1)</script>",
    "<math><mi//xlink:href=\"data:x,<script>alert(1)</script>\">",
    "<plaintext>",
];

/// The tags of a page, with their attributes' names: what a browser makes of it.
pub(super) fn tags(body: &str) -> Vec<String> {
    let opened = body.split('<').skip(1).map(|rest| rest.split_once('>').expect("each tag ends").0);
    opened
        .map(|tag| {
            let mut outside = tag.split('"').step_by(2).collect::<Vec<_>>().join("");
            outside.retain(|c| c != '\n');
            outside
        })
        .collect()
}

#[tokio::test]
async fn o7_thirty_hostile_strings_of_a_provider_stay_text() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    let denied = |words: &str| {
        let words: String = url::form_urlencoded::byte_serialize(words.as_bytes()).collect();
        format!("/oauth/callback/{CLIENT}?error={words}&error_description={words}&state={}", underway.state)
    };
    let plain = tags(&site.get(&alice, &denied("words")).await.body);
    assert!(plain.iter().any(|tag| tag == "q"), "the provider's words are shown");
    for words in HOSTILE {
        let page = site.get(&alice, &denied(words)).await;
        assert_eq!(tags(&page.body), plain, "{words}");
        let raw = format!("{}&amp;", words);
        assert!(!page.says(words) || !raw.contains(['<', '>', '"']), "{words} stands as it came");
    }
}

#[tokio::test]
async fn o7_hostile_scopes_stay_text() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let server = Arc::clone(&site.fixture.servers.borrow().by_name[&ServerName("demo/notes".into())]);
    let page = async |scope: &str| {
        let scopes = [scope.to_owned()];
        let link = site.pages.consents.required(&alice.principal, &alice.subjects, &server, &scopes).await.unwrap();
        site.get(&alice, &format!("/connect/{}", link.id)).await.body
    };
    let plain = tags(&page("zz").await);
    for words in HOSTILE {
        assert_eq!(tags(&page(&format!("zz{words}")).await), plain, "{words}");
    }
}

#[tokio::test]
async fn o7_every_answer_carries_the_headers_of_a_page() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let path = format!("/connect/{consent}");
    for reply in [
        site.get(&alice, &path).await,
        site.send(Method::GET, &path, &[], "").await,
        site.get(&alice, "/connect/0").await,
        site.post(&alice, &path, &[]).await,
        site.send(Method::POST, &path, &[], "").await,
        site.get(&alice, &format!("/oauth/callback/{CLIENT}")).await,
        site.get(&alice, "/connections").await,
        site.send(Method::GET, "/connections", &[], "").await,
        site.get(&alice, "/connections/status?server=demo/notes").await,
        site.send(Method::PUT, "/connections", &[], "").await,
    ] {
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        for rule in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.headers["x-frame-options"], "DENY");
        assert_eq!(reply.headers["x-content-type-options"], "nosniff");
        assert_eq!(reply.headers["referrer-policy"], "no-referrer");
        assert_eq!(reply.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn o7_the_only_style_is_the_one_the_policy_names_and_no_script_is_there() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let page = site.get(&alice, &format!("/connect/{}", site.link(&alice, "notes").await)).await;
    let style = page.between("<style>", "</style>");
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style.as_bytes()));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains(&format!("style-src 'sha256-{hash}'")));
    assert!(!page.says("<script") && !page.says("style="));
}

#[tokio::test]
async fn o5_no_request_makes_us_send_anybody_off_the_site() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    let hosts =
        ["evil.example", "evil.example/%2e%2e", "gate.example.com@evil.example", "evil.example#", "evil.example%00"];
    let ways = [
        "//",
        "/\\",
        "\\\\",
        "https://",
        "https:",
        "http:///",
        "//\t",
        "javascript://",
        "data://",
        "/%2f",
        "/%5c",
        "\u{ff0f}\u{ff0f}",
    ];
    let payloads: Vec<String> =
        ways.iter().flat_map(|way| hosts.iter().map(move |host| format!("{way}{host}"))).collect();
    assert_eq!(payloads.len(), 60);
    for payload in payloads {
        let encoded: String = url::form_urlencoded::byte_serialize(payload.as_bytes()).collect();
        let once: String = encoded.replace('+', "%20");
        for path in [
            format!("/connect/{once}"),
            format!("/oauth/callback/{once}?code=c&state={once}"),
            format!("/oauth/callback/{CLIENT}?code=c&state={once}.1&redirect_uri={once}&return_to={once}"),
            format!("/oauth/callback/{CLIENT}?error=x&error_uri={once}&state={}", underway.state),
            format!("/connections?return_to={once}&next={once}"),
        ] {
            let reply = site.get(&alice, &path).await;
            assert_eq!(reply.location(), "", "{path}");
            assert!(!reply.says("href=\"http") && !reply.says("refresh"), "{path}: {}", reply.body);
        }
        for (path, field) in [
            ("/connections/connect".to_owned(), "server"),
            (format!("/connections/{once}/disconnect"), "next"),
            (format!("/connect/{once}"), "asked"),
            (format!("/connect/{once}/account"), "next"),
        ] {
            let reply = site.post(&alice, &path, &[(field, &payload), ("account", "keep")]).await;
            assert_eq!((reply.status, reply.location()), (StatusCode::NOT_FOUND, ""), "{path}");
        }
        let reply = site.post(&alice, &format!("/connect/{consent}"), &[("asked", &payload)]).await;
        assert_eq!(reply.location(), format!("/connect/{consent}"));
    }
}
