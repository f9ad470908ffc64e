//! Claims: who, for whom, from when, until when, each said once and exactly.

use e2e::{Algorithm, Issuer, World, now_seconds, run};
use serde_json::{Value, json};

#[test]
fn j7_refuses_repeated_claims_however_they_are_spelt() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let good = world.issuer.token("mallory", &server).claims_text();
        for extra in [
            r#""sub":"alice""#,
            r#""s\u0075b":"alice""#,
            r#""\u0073\u0075\u0062":"alice""#,
            r#""aud":"x""#,
            r#""a\u0075d":"x""#,
            r#""iss":"x""#,
            r#""exp":9999999999"#,
            r#""\u0065xp":9999999999"#,
            r#""email":"alice@example.com""#,
            r#""email_verified":false"#,
            r#""groups":["a"],"groups":["admins"]"#,
            r#""scope":"a","scope":"b""#,
            r#""x":{"y":1,"y":2}"#,
        ] {
            for claims in
                [good.replacen('{', &format!("{{{extra},"), 1), format!("{},{extra}}}", &good[..good.len() - 1])]
            {
                let token = world.issuer.token("mallory", &server).raw_claims(&claims).mint();
                server.refuses_token(extra, &token).await;
            }
        }
        server.upstream.assert_untouched("repeated claims");
    });
}

#[test]
fn j7_refuses_claims_that_are_not_one_json_object() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let good = world.issuer.token("mallory", &server).claims_text();
        for claims in [
            "",
            "null",
            "[]",
            "\"\"",
            "{}",
            "1",
            "{",
            "nonsense",
            &format!("[{good}]"),
            &format!("{good}{good}"),
            &format!("{good} x"),
            &format!("\u{feff}{good}"),
            &good.replace("\"sub\"", "sub"),
            &good.replace('"', "'"),
            &format!("{},}}", &good[..good.len() - 1]),
            &format!("/**/{good}"),
        ] {
            let token = world.issuer.token("mallory", &server).raw_claims(claims).mint();
            server.refuses_token(&format!("claims {claims:.30}"), &token).await;
        }
        server.upstream.assert_untouched("claims that are none");
    });
}

#[test]
fn j8_demands_an_integer_exp_that_is_not_over() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let now = now_seconds();
        for (what, exp) in [
            ("absent", Value::Null),
            ("a string", json!((now + 600).to_string())),
            ("a float", json!(now as f64 + 600.5)),
            ("1e30", json!(1e30)),
            ("negative", json!(-1)),
            ("zero", json!(0)),
            ("true", json!(true)),
            ("a list", json!([now + 600])),
            ("an object", json!({"exp": now + 600})),
            ("2^63", json!(9_223_372_036_854_775_808_u64)),
            ("2^63 - 1", json!(i64::MAX)),
            ("2^64 - 1", json!(u64::MAX)),
            ("in milliseconds", json!((now + 600) * 1000)),
            ("61 seconds ago", json!(now - 61)),
            ("an hour ago", json!(now - 3600)),
            ("in ten years", json!(now + 315_360_000)),
        ] {
            // Issued long ago, so that nothing but `exp` is wrong.
            let token = world.issuer.token("mallory", &server).claim("iat", now - 7200).claim("exp", exp).mint();
            server.refuses_token(&format!("exp {what}"), &token).await;
        }
        let text = world.issuer.token("mallory", &server).claim("exp", 4_242_424_242_i64).claims_text();
        for number in ["null", "4242424242.0", "42e8", "4.2e9", "-0", "04242424242", "NaN", "Infinity", "1e400"] {
            let token = world.issuer.token("mallory", &server).raw_claims(&text.replace("4242424242", number));
            server.refuses_token(&format!("exp {number}"), &token.mint()).await;
        }
        server.upstream.assert_untouched("a token without good exp");
        let late = world.issuer.token("alice", &server).expires_in(-30).mint();
        server.accepts_token("30 seconds ago, within the leeway", &late).await;
    });
}

#[test]
fn j8_refuses_tokens_from_the_future_and_tokens_that_live_too_long() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let now = now_seconds();
        let good = || world.issuer.token("mallory", &server);
        for (what, token) in [
            ("nbf in two minutes", good().claim("nbf", now + 120)),
            ("iat in two minutes", good().claim("iat", now + 120)),
            ("nbf a string", good().claim("nbf", "0")),
            ("iat a string", good().claim("iat", "0")),
            ("iat a float", good().claim("iat", 1.5)),
            ("iat negative", good().claim("iat", -1)),
            ("nbf huge", good().claim("nbf", u64::MAX)),
            ("a life of 25 hours", good().claim("iat", now - 10).claim("exp", now + 25 * 3600)),
            ("25 hours without iat", good().claim("iat", Value::Null).claim("exp", now + 25 * 3600)),
            ("iat after exp", good().claim("iat", now + 50).claim("exp", now + 10)),
        ] {
            server.refuses_token(what, &token.mint()).await;
        }
        server.upstream.assert_untouched("a token of another time");
        server.accepts_token("iat in 30 seconds", &good().claim("iat", now + 30).mint()).await;
    });
}

#[test]
fn j9_takes_only_this_servers_resource_as_audience() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let other = world.open_server().await;
        let resource = &server.resource;
        for (what, aud) in [
            ("absent", Value::Null),
            ("another server", json!(other.resource)),
            ("empty list", json!([])),
            ("empty text", json!("")),
            ("a prefix", json!(resource[..resource.len() - 1])),
            ("more after it", json!(format!("{resource}x"))),
            ("a slash after it", json!(format!("{resource}/"))),
            ("upper case", json!(resource.to_uppercase())),
            ("a query", json!(format!("{resource}?"))),
            ("a fragment", json!(format!("{resource}#"))),
            ("only the origin", json!(world.public_url)),
            ("a space before", json!(format!(" {resource}"))),
            ("several in one text", json!(format!("x {resource}"))),
            ("a number", json!(1)),
            ("an object", json!({"aud": resource})),
            ("a list in a list", json!([[resource]])),
            ("a list with a number", json!([resource, 1])),
            ("https", json!(resource.replace("http:", "https:"))),
            ("path only", json!(server.path)),
        ] {
            let token = world.issuer.token("mallory", &server).claim("aud", aud).mint();
            server.refuses_token(&format!("aud {what}"), &token).await;
        }
        server.upstream.assert_untouched("a token for somebody else");
        let list = world.issuer.token("alice", &server).claim("aud", json!(["https://other.example", resource]));
        server.accepts_token("a list with ours", &list.mint()).await;
    });
}

#[test]
fn j9_a_token_seen_good_at_one_server_is_refused_at_another() {
    run(async {
        let world = World::shared().await;
        let (server, other) = (world.open_server().await, world.open_server().await);
        let token = world.issuer.token("alice", &server).mint();
        server.accepts_token("its own server", &token).await;
        other.refuses_token("another server, now that the caller is cached", &token).await;
        other.upstream.assert_untouched("a token of another server");
    });
}

#[test]
fn j10_ties_keys_to_the_exact_issuer() {
    run(async {
        let stranger = Issuer::start().await;
        let world = World::shared().await;
        let server = world.open_server().await;
        let ours = &world.issuer.url;
        for iss in [
            json!(format!("{ours}/")),
            json!(ours.to_uppercase()),
            json!(ours.replace("http:", "https:")),
            json!(ours.replace("127.0.0.1", "localhost")),
            json!(format!(" {ours}")),
            json!(format!("{ours}\0")),
            json!(format!("{ours}#")),
            json!(stranger.url),
            json!(world.public_url),
            json!(""),
            json!([ours]),
            json!(1),
            Value::Null,
        ] {
            let token = world.issuer.token("mallory", &server).claim("iss", iss.clone()).mint();
            server.refuses_token(&format!("iss {iss}"), &token).await;
        }
        // RSA keys of one process are all the same: a stranger signs with a key of its own.
        let strange = || stranger.token_signed(Algorithm::Es256, "mallory", &server);
        let token = strange().claim("iss", ours.as_str()).mint();
        server.refuses_token("a stranger's key, our issuer, the same kid", &token).await;
        server.refuses_token("a stranger", &strange().mint()).await;
        assert_eq!(stranger.fetches(), 0, "a stranger's keys were fetched");
        server.upstream.assert_untouched("a token of another issuer");
    });
}

#[test]
fn j10_keeps_two_trusted_issuers_apart() {
    run(async {
        let second = Issuer::start().await;
        let url = second.url.clone();
        let extra = json!({"issuer": url, "login": false, "algorithms": ["RS256", "ES256", "EdDSA"]});
        let world = World::build()
            .broker(move |config| config["issuers"].as_array_mut().expect("a list").push(extra))
            .start()
            .await;
        let server = world.open_server().await;
        let ec = |issuer: &Issuer| issuer.token_signed(Algorithm::Es256, "alice", &server);
        server.accepts_token("the first issuer", &ec(&world.issuer).mint()).await;
        server.accepts_token("the second issuer", &ec(&second).mint()).await;
        let crossed = ec(&world.issuer).claim("iss", second.url.as_str()).mint();
        server.refuses_token("key of the first under the name of the second", &crossed).await;
        let crossed = ec(&second).claim("iss", world.issuer.url.as_str()).mint();
        server.refuses_token("key of the second under the name of the first", &crossed).await;
    });
}

#[test]
fn refuses_a_token_without_good_subject() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for sub in [Value::Null, json!(""), json!(1), json!(["alice"]), json!({}), json!(true), json!("s".repeat(5000))]
        {
            let token = world.issuer.token("mallory", &server).claim("sub", sub.clone()).mint();
            server.refuses_token(&format!("sub {sub:.30}"), &token).await;
        }
        server.upstream.assert_untouched("a token of nobody");
    });
}

#[test]
fn an_unverified_mail_address_names_nobody() {
    run(async {
        let world = World::shared().await;
        let server = world.server().subjects(&["user:alice@example.com"]).register().await;
        for verified in [json!(false), json!("true"), json!(1), Value::Null] {
            let token = world.issuer.token("alice", &server).claim("email_verified", verified.clone()).mint();
            let reply = server.call_as(&token).send().await;
            assert_eq!((reply.status, reply.rpc_error().code), (200, -31002), "{verified}: {reply}");
        }
        server.upstream.assert_untouched("an unverified address");
        server.accepts_token("verified", &world.issuer.token("alice", &server).mint()).await;
    });
}
