//! What the JOSE header may say: nothing that chooses the key, the algorithm or the rules.

use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use e2e::{Algorithm, Listening, SigningKey, World, empty_body, run};
use ring::hmac;
use serde_json::{Value, json};

#[test]
fn j1_refuses_alg_none_in_every_spelling_and_shape() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let spellings =
            ["none", "None", "NONE", "nOnE", "noNE", "none ", " none", "none\0", "", "null", "n\u{3bf}ne", "HS0"];
        for alg in spellings {
            let token = world.issuer.token("mallory", &server).header("alg", alg);
            let unsigned = token.unsigned();
            let shapes = [format!("{unsigned}."), unsigned, token.mint_with_signature(b"none"), token.mint()];
            for shape in shapes {
                server.refuses_token(&format!("alg {alg:?}"), &shape).await;
            }
        }
        server.upstream.assert_untouched("a token without signature");
    });
}

#[test]
fn j1_refuses_alg_of_any_other_type() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for alg in [Value::Null, json!(["RS256"]), json!({"alg": "RS256"}), json!(256), json!(true)] {
            let header = json!({"alg": alg, "typ": "at+jwt", "kid": "rsa-1"}).to_string();
            let token = world.issuer.token("mallory", &server).raw_header(&header).mint();
            server.refuses_token(&format!("alg {alg}"), &token).await;
        }
        let without = world.issuer.token("mallory", &server).header("alg", Value::Null).mint();
        server.refuses_token("no alg", &without).await;
        server.upstream.assert_untouched("a token without algorithm");
    });
}

#[test]
fn j2_refuses_hmac_made_with_the_public_key() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let secrets = world.issuer.key(Algorithm::Rs256).as_hmac_secrets();
        let algorithms = [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)];
        for (encoding, secret) in &secrets {
            for (name, algorithm) in algorithms {
                for alg in [name, "RS256"] {
                    let token = world.issuer.token("mallory", &server).header("alg", alg);
                    let mac = hmac::sign(&hmac::Key::new(algorithm, secret), token.unsigned().as_bytes());
                    let token = token.mint_with_signature(mac.as_ref());
                    server.refuses_token(&format!("{name} with {encoding} as {alg}"), &token).await;
                }
            }
        }
        server.upstream.assert_untouched("a token signed with a public key");
    });
}

#[test]
fn j2_refuses_an_algorithm_that_the_key_is_not_for() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for (kid, alg) in [
            ("rsa-1", "RS384"),
            ("rsa-1", "RS512"),
            ("rsa-1", "PS256"),
            ("rsa-1", "ES256"),
            ("ec-1", "RS256"),
            ("ec-1", "ES384"),
            ("ec-1", "ES256K"),
            ("ed-1", "ES256"),
            ("ed-1", "Ed448"),
            ("rsa-1", "rs256"),
        ] {
            let token = world.issuer.token("mallory", &server).header("kid", kid).header("alg", alg).mint();
            server.refuses_token(&format!("{alg} with {kid}"), &token).await;
        }
        for algorithm in [Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256] {
            // The private key is the published one; only the algorithm is not.
            let key = Arc::new(SigningKey::new(algorithm, "rsa-1"));
            let token = world.issuer.token("mallory", &server).header("alg", algorithm.name()).signed_by(&key).mint();
            server.refuses_token(algorithm.name(), &token).await;
        }
        server.upstream.assert_untouched("a token of another algorithm");
    });
}

#[test]
fn j3_trusts_no_key_that_the_token_brings_and_fetches_none() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let own = Arc::new(SigningKey::new(Algorithm::Es256, "mallory-1"));
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let collector = Listening::start(None, move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok(hyper::Response::new(empty_body())) }
        })
        .await;
        let url = format!("http://{}/keys", collector.address);
        let certificate = e2e::Authority::new();
        for (name, value) in [
            ("jwk", own.jwk()),
            ("jku", json!(url)),
            ("x5u", json!(url)),
            ("x5c", json!([certificate.pem()])),
            ("x5t", json!("AAAA")),
            ("x5t#S256", json!("AAAA")),
        ] {
            for kid in ["mallory-1", "ec-1", "rsa-1"] {
                let token = world.issuer.token("mallory", &server).header("alg", "ES256").header("kid", kid);
                let token = token.header(name, value.clone()).signed_by(&own).mint();
                server.refuses_token(&format!("{name} with kid {kid}"), &token).await;
            }
        }
        assert_eq!((asked.load(Ordering::SeqCst), collector.connections()), (0, 0), "the collector was asked");
        server.upstream.assert_untouched("a token that brings its own key");
    });
}

#[test]
fn j4_reads_a_kid_as_nothing_but_a_name() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let texts = [
            "",
            " ",
            ".",
            "..",
            "/",
            "../../dev/null",
            "/dev/null",
            "../../../../etc/passwd",
            "file:///dev/null",
            "http://127.0.0.1:1/",
            "rsa-1 ",
            " rsa-1",
            "RSA-1",
            "rsa-1\0",
            "rsa-1\0.pem",
            "\0",
            "rsa-1\n",
            "rsa-1\r\n",
            "rsa%2d1",
            "rsa-1' OR '1'='1",
            "' UNION SELECT 'AA' --",
            "\"; DROP TABLE keys; --",
            "*",
            "%",
            "_",
            "rsa-_",
            "{{7*7}}",
            "${jndi:ldap://127.0.0.1/}",
            "$(id)",
            "`id`",
            "|id",
            ";id",
            "rsa\u{2010}1",
            "rsa-\u{661}",
            "\u{202e}1-asr",
            "\u{feff}rsa-1",
            "rsa-1\u{200b}",
            "\u{10ffff}",
            "0",
            "-1",
            "null",
            "undefined",
            "true",
            "__proto__",
            "constructor",
            "ec-1",
        ];
        let long = ["k".repeat(257), "k".repeat(10_000), "\u{1f511}".repeat(2_000)];
        let kids = texts.iter().map(|kid| json!(kid)).chain(long.iter().map(|kid| json!(kid)));
        let others = [json!(["rsa-1"]), json!(1), json!(1.5), json!({"kid": "rsa-1"}), json!(true), json!([])];
        for kid in kids.chain(others) {
            let token = world.issuer.token("mallory", &server).header("kid", kid.clone()).mint();
            server.refuses_token(&format!("kid {kid:.40}"), &token).await;
        }
        server.upstream.assert_untouched("a token of an unknown key");
        server.accepts_token("the right kid", &world.issuer.token("alice", &server).mint()).await;
    });
}

#[test]
fn j4_refuses_a_token_without_kid() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for header in [r#"{"alg":"RS256","typ":"at+jwt"}"#, r#"{"alg":"RS256","typ":"at+jwt","kid":null}"#] {
            let token = world.issuer.token("mallory", &server).raw_header(header).mint();
            server.refuses_token(header, &token).await;
        }
    });
}

#[test]
fn j6_refuses_extensions_encryption_and_other_serialisations() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let good = || world.issuer.token("mallory", &server);
        for (what, token) in [
            ("unknown crit", good().header("crit", json!(["exp"])).header("exp", 1)),
            ("empty crit", good().header("crit", json!([]))),
            ("crit b64", good().header("crit", json!(["b64"])).header("b64", true)),
            ("crit that is no list", good().header("crit", "exp")),
            ("b64 false", good().header("b64", false)),
            ("b64 false, critical", good().header("crit", json!(["b64"])).header("b64", false)),
            ("zip", good().header("zip", "DEF")),
            ("enc", good().header("enc", "A256GCM")),
        ] {
            server.refuses_token(what, &token.mint()).await;
        }
        let parts = good().mint();
        let [header, claims, signature] = *parts.split('.').collect::<Vec<_>>() else { panic!("three parts") };
        let json = json!({"protected": header, "payload": claims, "signature": signature}).to_string();
        for (what, token) in [
            ("JWE of five parts", format!("{header}.{claims}.{signature}.{claims}.{signature}")),
            ("four parts", format!("{parts}.")),
            ("two parts", format!("{header}.{claims}")),
            ("one part", header.to_owned()),
            ("a dot before", format!(".{parts}")),
            ("JSON serialisation, encoded", URL_SAFE_NO_PAD.encode(&json)),
            ("nothing but dots", "..".to_owned()),
        ] {
            server.refuses_token(what, &token).await;
        }
        // Its commas make a list of it.
        let reply = server.call_as(&json).send().await;
        assert_eq!(reply.status, 400, "JSON serialisation: {reply}");
        server.upstream.assert_untouched("a token with extensions");
    });
}

#[test]
fn j7_refuses_repeated_members_of_the_header() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for header in [
            r#"{"alg":"none","alg":"RS256","typ":"at+jwt","kid":"rsa-1"}"#,
            r#"{"alg":"RS256","alg":"RS256","typ":"at+jwt","kid":"rsa-1"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"other","kid":"rsa-1"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","typ":"JWT","kid":"rsa-1"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"rsa-1","k\u0069d":"rsa-1"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"rsa-1","x":1,"x":2}"#,
        ] {
            let token = world.issuer.token("mallory", &server).raw_header(header).mint();
            server.refuses_token(header, &token).await;
        }
        server.upstream.assert_untouched("a header with repeated members");
    });
}

#[test]
fn j11_refuses_tokens_of_another_kind() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for typ in [
            "JWT",
            "jwt",
            "logout+jwt",
            "dpop+jwt",
            "secevent+jwt",
            "id_token",
            "at+jwt ",
            "at-jwt",
            "application/jwt",
            "token-introspection+jwt",
            "",
            "entity-statement+jwt",
            "client-authentication+jwt",
            "kb+jwt",
        ] {
            let token = world.issuer.token("mallory", &server).header("typ", typ).mint();
            server.refuses_token(&format!("typ {typ:?}"), &token).await;
        }
        let id_token = world.issuer.token("mallory", &server).header("typ", "JWT").claim("nonce", "n-0S6");
        server.refuses_token("an ID token", &id_token.claim("at_hash", "77QmUPtjPfzWtF2AnpK9RQ").mint()).await;
        server.refuses_token("no typ", &world.issuer.token("mallory", &server).header("typ", Value::Null).mint()).await;
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
            let token = world.issuer.token("alice", &server).header("typ", typ).mint();
            server.accepts_token(typ, &token).await;
        }
    });
}
