//! What somebody reads who gets hold of a fleet's stores: a dump of Postgres, the files of Redis, a transcript of every
//! command that Redis was given (V1). SQLite and its log are searched where a gate has one (`secrets/canaries.rs`).

use e2e::{Canary, rounds, run};

use super::*;

/// People who agree, whose tokens are over, and whose next ones are used: a thousand canaries where the long figures are
/// wanted.
fn people() -> usize {
    rounds(12, 130)
}

fn tail(token: &str) -> String {
    token.rsplit('.').next().expect("three parts").to_owned()
}

/// Everything secret that brokers were given, and that they gave.
fn canaries(fleet: &Fleet, header: &str, own: &str, inbound: &[String]) -> Vec<Canary> {
    let provider = &fleet.provider;
    let mut canaries = vec![
        Canary::new("the header secret", header),
        Canary::new("the client secret", &provider.client_secret),
        Canary::new("the self-issued token", tail(own)),
    ];
    canaries.extend(inbound.iter().map(|token| Canary::new("an inbound token", tail(token))));
    canaries.extend(provider.issued().into_iter().map(|token| Canary::new("an access token", token)));
    canaries.extend(provider.codes().into_iter().map(|code| Canary::new("a code", code)));
    let verifiers = provider.token_requests_by("authorization_code").into_iter();
    canaries
        .extend(verifiers.filter_map(|asked| Some(Canary::new("a PKCE verifier", asked.form.get("code_verifier")?))));
    let families = provider.families().into_iter().flat_map(|family| family.refresh_tokens);
    canaries.extend(families.map(|token| Canary::new("a refresh token", token)));
    canaries
}

#[test]
fn v1_no_planted_secret_is_in_a_dump_of_postgres_in_redis_its_files_or_a_transcript_of_every_command() {
    run(async {
        let mut fleet = Fleet::start(World::build()).await;
        let monitor = fleet.redis().monitor();
        let secret = e2e::unique("canary-header");
        let header = fleet.world.server().auth(Auth::Header { secret: secret.clone() }).register().await;
        let own = fleet.world.broker.issue_token("--user", "alice@example.com", "1h").await;
        let people = fleet.people(people()).await;
        fleet.one_request_each(&people).await;
        let mut inbound = Vec::new();
        for person in &people {
            assert!(fleet.given_by_each(person, &header).await.iter().all(Option::is_some));
            for server in [&fleet.server, &header] {
                let token = fleet.world.issuer.token(person, server).mint();
                server.call_as(&token).send().await.result();
                inbound.push(token);
            }
        }
        fleet.another().revoke_token(&own).await;
        let ended = format!("{}@example.com", people[0]);
        fleet.another().command(&["grants", "revoke", "--all-of", &ended]).await.ok();
        let canaries = canaries(&fleet, &secret, &own, &inbound);
        assert!(canaries.len() >= people.len() * 8, "{} canaries", canaries.len());
        println!("{} canaries", canaries.len());

        // Each was really used: a place where nothing is written down holds no secret either.
        let dump = fleet.world.broker.dump();
        let [(_, dump)] = dump.as_slice() else { panic!("one dump") };
        let text = String::from_utf8_lossy(dump);
        for what in [&*ended, "COPY public.grants", "COPY public.keys", "COPY public.audit"] {
            assert!(text.contains(what), "the dump has nothing of {what}");
        }
        let server = fleet.server.name.clone();
        let redis = fleet.redis();
        redis.cli(&["save"]);
        let transcript = String::from_utf8_lossy(&monitor.transcript()).into_owned();
        for what in ["\"SET\" \"sallyport:lease:", " released sallyport:lease:", "policy\"", "ended\"", "revoked\""] {
            assert!(transcript.contains(what), "nothing of {what} to look through");
        }
        let lease = b"sallyport:lease:";
        let contains = |bytes: &[u8]| bytes.windows(lease.len()).any(|part| part == lease);
        let log = std::fs::read_dir(redis.dir().join("appendonlydir")).expect("a log").flatten();
        assert!(
            log.map(|file| std::fs::read(file.path()).expect("it is there")).any(|file| contains(&file)),
            "the AOF"
        );
        assert!(std::fs::metadata(redis.dir().join("dump.rdb")).expect("the RDB").len() > 0);

        for canary in &canaries {
            canary.assert_absent("the dump of Postgres", dump);
            canary.assert_absent_below(redis.dir());
            canary.assert_absent("the transcript", transcript.as_bytes());
        }
        // Nor, in Redis, anybody's name.
        for name in ["alice", "caller-", "example.com", &*server] {
            assert!(!transcript.contains(name), "{name} is in the transcript");
        }
        let without = "local n = 0 for _, k in ipairs(redis.call('keys', '*')) do \
            if redis.call('pttl', k) == -1 then n = n + 1 end end return n";
        assert_eq!(redis.cli(&["eval", without, "0"]), "0", "keys without a time to live");
    });
}
