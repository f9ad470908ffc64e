use super::*;

const GOOD: &str = r#"mode: demonstration
tenant: demo
public_url: http://127.0.0.1:10000
data_dir: var/data
key_file: var/key/master.key
grpc: { socket: var/run/broker.sock, allowed_peer_uids: [1337] }
admin: { socket: var/admin/admin.sock }
http: { listen: "127.0.0.1:10001" }
snapshot: { max_staleness: 60s, allowed_origins: [], allowed_hosts: [] }
network: { allow: ["127.0.0.0/8", "::1/128"], ca_file: null }
upstream: { ca_file: null }
issuers:
  - issuer: http://127.0.0.1:4000
    jwks_uri: null
    audiences: []
    login: true
    profile: access_token
    algorithms: [RS256, ES256, EdDSA]
    subject_claim: sub
    email_claim: email
    teams_claim: null
    max_lifetime: 24h
    required_scopes: []
log: { level: info, format: json }
"#;

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::from_text(Path::new("/etc/sallyport/sallyport.yaml"), text)
}

#[test]
fn paths_are_relative_to_the_file() {
    let config = load(GOOD).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/sallyport/var/data"));
    assert_eq!(config.admin.socket, Path::new("/etc/sallyport/var/admin/admin.sock"));
    assert_eq!(config.public_url, "http://127.0.0.1:10000");
    assert_eq!(config.snapshot.max_staleness, Duration::from_secs(60));
    assert_eq!(config.issuers[0].max_lifetime, Duration::from_secs(86400));
    assert!(config.issuers[0].login);
}

#[test]
fn refresh_is_bounded_and_refuses_what_it_does_not_know() {
    assert_eq!(load(GOOD).unwrap().refresh.idle_after, Duration::from_secs(3600));
    let with = |text: &str| load(&format!("{GOOD}\nrefresh: {text}\n"));
    let given =
        with("{idle_after: 7d, provider: {at_once: 4, per_second: 2, failures: 3, pause: 10s}}").unwrap().refresh;
    assert_eq!(given.idle_after, Duration::from_secs(7 * 86400));
    let provider = (given.provider.at_once, given.provider.per_second, given.provider.failures, given.provider.pause);
    assert_eq!(provider, (4, 2, 3, Duration::from_secs(10)));
    for bad in [
        "{idle_after: 31d}",
        "{provider: {at_once: 0}}",
        "{provider: {per_second: 10001}}",
        "{provider: {pause: 6m}}",
        "{provider: {rate: 3}}",
        "{idle: 1h}",
        "1h",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_key_file_is_short_for_a_list_of_one() {
    let paths = |text: &str| -> Vec<PathBuf> {
        load(text).unwrap().master_keys.iter().map(|key| key.file().unwrap().to_owned()).collect()
    };
    assert_eq!(paths(GOOD), [Path::new("/etc/sallyport/var/key/master.key")]);
    let listed =
        GOOD.replace("key_file: var/key/master.key", "vault: {keys: [{file: var/key/new.key}, {file: /k/old.key}]}");
    assert_eq!(paths(&listed), [Path::new("/etc/sallyport/var/key/new.key"), Path::new("/k/old.key")]);
}

#[test]
fn the_defaults_are_the_careful_ones() {
    let config = load(
        "tenant: t\npublic_url: https://g.example\ndata_dir: /d\nkey_file: /k\ngrpc: {socket: /r/s, allowed_peer_uids: [1]}\nadmin: {socket: /a/s}\nissuers: [{issuer: 'https://i.example/'}]\n",
    )
    .unwrap();
    assert_eq!(config.mode, Mode::Standard);
    assert!(config.http.listen.ip().is_loopback());
    assert!(config.network.allow.is_empty());
    assert_eq!(config.issuers[0].issuer, "https://i.example/");
    assert!(!config.issuers[0].login);
    assert_eq!(config.issuers[0].profile, Profile::AccessToken);
}

/// One row a flaw: what is replaced in a good file, by what, and what is told.
#[test]
fn refuses_with_line_field_and_remedy() {
    let rows = [
        ("mode: demonstration", "mode: production", 1, "mode", "`production` is not known here"),
        ("mode: demonstration", "mode: standard\nmodes: x", 2, "modes", "unknown field"),
        ("tenant: demo", "tenant: De mo", 2, "tenant", "is not a name"),
        ("tenant: demo", "tenant: 7", 2, "tenant", "must be text"),
        ("tenant: demo", "#", 1, "tenant", "is missing"),
        ("http://127.0.0.1:10000", "http://127.0.0.1:10000/", 3, "public_url", "more than an origin"),
        ("http://127.0.0.1:10000", "https://g.example/mcp", 3, "public_url", "more than an origin"),
        ("http://127.0.0.1:10000", "https://u:p@g.example", 3, "public_url", "holds a user or password"),
        ("http://127.0.0.1:10000", "ftp://g.example", 3, "public_url", "not an http or https URL"),
        ("http://127.0.0.1:10000", "gateway", 3, "public_url", "not a URL"),
        ("var/key/master.key", "var/data/master.key", 5, "key_file", "lies in `data_dir`"),
        ("key_file: var/key/master.key", "#", 1, "key_file", "is missing"),
        ("key_file: var/key/master.key", "key_file: k\nvault: {keys: [{file: k}]}", 5, "key_file", "beside `vault`"),
        ("key_file: var/key/master.key", "vault: {keys: []}", 5, "vault.keys", "names no master key"),
        ("key_file: var/key/master.key", "vault: {}", 5, "vault.keys", "is missing"),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{aws_kms: {key_id: alias/a, region: eu-central-1}}]}",
            5,
            "vault.keys[0].aws_kms.key_id",
            "is an alias",
        ),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{aws_kms: {key_id: 'a b', region: eu-central-1}}]}",
            5,
            "vault.keys[0].aws_kms.key_id",
            "is no id",
        ),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{aws_kms: {key_id: 'arn:aws:kms:eu-west-1:1:key/a', region: eu-central-1}}]}",
            5,
            "vault.keys[0].aws_kms.region",
            "is not the region",
        ),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{aws_kms: {key_id: a-b, region: eu-central-1, endpoint: 'http://kms.example'}}]}",
            5,
            "vault.keys[0].aws_kms.endpoint",
            "plain http",
        ),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{aws_kms: {key_id: a-b, region: eu-central-1, alias: x}}]}",
            5,
            "vault.keys[0].aws_kms.alias",
            "unknown field",
        ),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{file: k, aws_kms: {key_id: a, region: r}}]}",
            5,
            "vault.keys[0].aws_kms",
            "a second place",
        ),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{transit: {address: 'http://vault.example:8200', key: k, token_file: t}}]}",
            5,
            "vault.keys[0].transit.address",
            "plain http",
        ),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{transit: {address: 'https://vault.example/v1', key: k, token_file: t}}]}",
            5,
            "vault.keys[0].transit.address",
            "has a path",
        ),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{transit: {address: 'https://vault.example', key: ../sys, token_file: t}}]}",
            5,
            "vault.keys[0].transit.key",
            "is no name",
        ),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{transit: {address: 'https://vault.example', key: k}}]}",
            5,
            "vault.keys[0].transit",
            "says no token",
        ),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{transit: {address: 'https://vault.example', key: k, token_file: t, token_env: T}}]}",
            5,
            "vault.keys[0].transit.token_env",
            "is a second token",
        ),
        ("key_file: var/key/master.key", "vault: {keys: [{}]}", 5, "vault.keys[0]", "where the key is kept"),
        ("key_file: var/key/master.key", "vault: {keys: [{files: k}]}", 5, "vault.keys[0].files", "unknown field"),
        ("key_file: var/key/master.key", "vault: {keys: [{file: k}], key: k}", 5, "vault.key", "unknown field"),
        (
            "key_file: var/key/master.key",
            "vault: {keys: [{file: k}, {file: var/data/k}]}",
            5,
            "vault.keys[1].file",
            "lies in `data_dir`",
        ),
        ("var/admin/admin.sock", "var/run/admin.sock", 7, "admin", "in the directory of `grpc.socket`"),
        ("[1337]", "[-1]", 6, "grpc.allowed_peer_uids[0]", "must be a number"),
        ("socket: var/run", "sockets: var/run", 6, "grpc.sockets", "unknown field"),
        ("max_staleness: 60s", "max_staleness: 6m", 9, "snapshot.max_staleness", "more than five minutes"),
        ("max_staleness: 60s", "max_staleness: 60", 9, "snapshot.max_staleness", "must be text"),
        ("max_staleness: 60s", "max_staleness: 1y", 9, "snapshot.max_staleness", "is not a duration"),
        (
            "max_staleness: 60s",
            "max_staleness: 18446744073709551615d",
            9,
            "snapshot.max_staleness",
            "is not a duration",
        ),
        ("allowed_origins: []", "allowed_origins: ['*']", 9, "snapshot.allowed_origins[0]", "not a URL"),
        ("allowed_hosts: []", "allowed_hosts: ['http://x']", 9, "snapshot.allowed_hosts[0]", "is not a host"),
        ("127.0.0.0/8", "127.0.0.0/64", 10, "network.allow[0]", "no range"),
        ("\"127.0.0.1:10001\"", "10001", 8, "http.listen", "must be text"),
        ("\"127.0.0.1:10001\"", "localhost", 8, "http.listen", "no address"),
        ("http://127.0.0.1:4000", "http://idp.example", 13, "issuers[0].issuer", "plain http to another machine"),
        ("http://127.0.0.1:4000", "http://127.0.0.1:10000", 13, "issuers[0]", "is `public_url`"),
        ("jwks_uri: null", "jwks_uri: http://idp.example/jwks", 14, "issuers[0].jwks_uri", "plain http"),
        ("login: true", "login: yes", 16, "issuers[0].login", "must be `true` or `false`"),
        ("profile: access_token", "profile: id_token", 17, "issuers[0].profile", "not known here"),
        ("[RS256, ES256, EdDSA]", "[HS256]", 18, "issuers[0].algorithms[0]", "not known here"),
        ("[RS256, ES256, EdDSA]", "[none]", 18, "issuers[0].algorithms[0]", "not known here"),
        ("[RS256, ES256, EdDSA]", "[]", 18, "issuers[0].algorithms", "names no algorithm"),
        ("max_lifetime: 24h", "max_lifetime: 0s", 22, "issuers[0].max_lifetime", "is zero"),
        ("level: info", "level: verbose", 24, "log.level", "not known here"),
        ("level: info", "colour: blue", 24, "log.colour", "unknown field"),
    ];
    for (good, bad, line, field, message) in rows {
        assert!(GOOD.contains(good), "{good}");
        let error = load(&GOOD.replacen(good, bad, 1)).expect_err(bad);
        let ConfigError::Bad { problems, .. } = error else { panic!("{bad}: {error}") };
        let told =
            |problem: &&Problem| problem.line == line && problem.field == field && problem.message.contains(message);
        assert!(problems.iter().any(|problem| told(&problem)), "{bad}: {problems:#?}");
    }
}

#[test]
fn a_sign_in_is_at_a_login_issuer_with_one_secret_at_most() {
    let with = |sign_in: &str| load(&GOOD.replace("log:", &format!("sign_in: {{ {sign_in} }}\nlog:")));
    let config = with("issuer: 'http://127.0.0.1:4000', client_id: gate, client_secret_file: var/oidc").unwrap();
    let sign_in = config.sign_in.unwrap();
    assert_eq!(sign_in.scopes, ["openid", "email", "profile"]);
    assert!(
        matches!(sign_in.client_secret, Some(SecretSource::File(file)) if file == Path::new("/etc/sallyport/var/oidc"))
    );
    let good = "issuer: 'http://127.0.0.1:4000', client_id: gate";
    for (sign_in, field, message) in [
        ("client_id: gate".to_owned(), "sign_in.issuer", "is missing"),
        ("issuer: 'http://127.0.0.1:4000'".to_owned(), "sign_in.client_id", "is missing"),
        (good.replace(":4000", ":4001"), "sign_in.issuer", "is not among `issuers`"),
        (
            format!("{good}, client_secret: a, client_secret_env: B"),
            "sign_in.client_secret_env",
            "second client secret",
        ),
        (format!("{good}, scopes: [email]"), "sign_in.scopes", "lacks `openid`"),
        (format!("{good}, scopes: ['openid email']"), "sign_in.scopes[0]", "is no scope"),
        (format!("{good}, secret: a"), "sign_in.secret", "unknown field"),
    ] {
        let ConfigError::Bad { problems, .. } = with(&sign_in).expect_err(&sign_in) else { panic!("{sign_in}") };
        let told = |problem: &&Problem| problem.field == field && problem.message.contains(message);
        assert!(problems.iter().any(|problem| told(&problem)), "{sign_in}: {problems:#?}");
    }
    let outside = GOOD.replace("login: true", "login: false").replace("log:", &format!("sign_in: {{ {good} }}\nlog:"));
    let ConfigError::Bad { problems, .. } = load(&outside).unwrap_err() else { panic!("bad") };
    assert!(problems[0].message.contains("no `login: true`"), "{problems:?}");
}

#[test]
fn a_store_is_sqlite_or_one_postgres_with_one_url() {
    let with = |store: &str| load(&GOOD.replace("key_file:", &format!("store: {{ {store} }}\nkey_file:")));
    assert!(matches!(load(GOOD).unwrap().store, Store::Sqlite));
    let Store::Postgres(postgres) = with("postgres: { url_file: var/url, ca_file: var/ca }").unwrap().store else {
        panic!("it is Postgres")
    };
    assert!(matches!(postgres.url, SecretSource::File(file) if file == Path::new("/etc/sallyport/var/url")));
    assert_eq!((postgres.ca_file.as_deref(), postgres.connections), (Some(Path::new("/etc/sallyport/var/ca")), 16));
    let good = "url: 'postgres://u:canary@db.example.com/d'";
    assert!(with(&format!("postgres: {{ {good} }}")).is_ok());
    for (store, field, message) in [
        (String::new(), "store.postgres", "is missing"),
        ("sqlite: {}".to_owned(), "store.sqlite", "unknown field"),
        ("postgres: {}".to_owned(), "store.postgres", "says no URL"),
        (format!("postgres: {{ {good}, url_env: U }}"), "store.postgres.url_env", "second URL"),
        (format!("postgres: {{ {good}, url_file: u, url_env: U }}"), "store.postgres.url_file", "second URL"),
        (format!("postgres: {{ {good}, connections: 1 }}"), "store.postgres.connections", "too few"),
        (format!("postgres: {{ {good}, password: x }}"), "store.postgres.password", "unknown field"),
        ("postgres: { url: 'postgres://u:canary@db/d?sslmode=disable' }".to_owned(), "store.postgres.url", "`sslmode`"),
        ("postgres: { url: 'postgres://canary@db' }".to_owned(), "store.postgres.url", "names no database"),
    ] {
        let ConfigError::Bad { problems, .. } = with(&store).expect_err(&store) else { panic!("{store}") };
        let told =
            |problem: &&Problem| problem.line == 5 && problem.field == field && problem.message.contains(message);
        assert!(problems.iter().any(|problem| told(&problem)), "{store}: {problems:#?}");
        assert!(!format!("{problems:?}").contains("canary"), "{store}: {problems:?}");
    }
}

#[test]
fn coordination_is_in_process_or_one_redis_with_one_url_and_one_login() {
    let with = |text: &str| load(&GOOD.replace("key_file:", &format!("coordination: {{ {text} }}\nkey_file:")));
    assert!(matches!(load(GOOD).unwrap().coordination, Coordination::InProcess));
    let redis = |text: &str| match with(&format!("redis: {{ {text} }}")).unwrap().coordination {
        Coordination::Redis(redis) => redis,
        Coordination::InProcess => panic!("it is Redis"),
    };
    let alone = redis("url_file: var/url, ca_file: var/ca, username: sallyport, password_env: P");
    assert!(matches!((&alone.url, &alone.shape), (SecretSource::File(_), Shape::Alone)));
    assert!(matches!(redis("url: 'rediss://a,b', cluster: true").shape, Shape::Cluster));
    let sentinels = redis("url: 'rediss://u:canary@a,b', sentinel: { master: m, password_file: p }");
    assert!(matches!(&sentinels.shape, Shape::Sentinel { master, .. } if master == "m"));
    assert!(!format!("{sentinels:?}").contains("canary"));
    let good = "url: 'rediss://u:canary@redis.example.com'";
    for (text, field, message) in [
        ("memory: {}".to_owned(), "coordination.redis", "is missing"),
        ("redis: {}".to_owned(), "coordination.redis", "says no URL"),
        (format!("redis: {{ {good}, url_env: U }}"), "coordination.redis.url_env", "second URL"),
        (format!("redis: {{ {good}, username: v }}"), "coordination.redis.url", "holds a user or password"),
        (
            format!("redis: {{ {good}, password_env: P, password_file: p }}"),
            "coordination.redis.password_env",
            "second",
        ),
        (format!("redis: {{ {good}, prefix: x }}"), "coordination.redis.prefix", "unknown field"),
        (format!("redis: {{ {good}, sentinel: {{}} }}"), "coordination.redis.sentinel.master", "is missing"),
        (
            format!("redis: {{ {good}, cluster: true, sentinel: {{ master: m }} }}"),
            "coordination.redis.cluster",
            "beside",
        ),
        ("redis: { url: 'redis://u:canary@10.0.0.1' }".to_owned(), "coordination.redis.url", "plain beyond"),
        ("redis: { url: 'rediss://a,b' }".to_owned(), "coordination.redis.url", "names several"),
    ] {
        let ConfigError::Bad { problems, .. } = with(&text).expect_err(&text) else { panic!("{text}") };
        let told =
            |problem: &&Problem| problem.line == 5 && problem.field == field && problem.message.contains(message);
        assert!(problems.iter().any(|problem| told(&problem)), "{text}: {problems:#?}");
        assert!(!format!("{problems:?}").contains("canary"), "{text}: {problems:?}");
    }
}

#[test]
fn i9_a_client_secret_is_not_printed() {
    let sign_in = "sign_in: { issuer: 'http://127.0.0.1:4000', client_id: gate, client_secret: canary }\nlog:";
    assert!(!format!("{:?}", load(&GOOD.replace("log:", sign_in)).unwrap()).contains("canary"));
}

#[test]
fn refuses_one_issuer_twice_and_plain_http_in_standard_mode() {
    let twice = GOOD.replace("log:", "  - issuer: http://127.0.0.1:4000\nlog:");
    let ConfigError::Bad { problems, .. } = load(&twice).unwrap_err() else { panic!("bad") };
    assert!(problems[0].message.contains("listed twice"), "{problems:?}");
    let plain = GOOD.replace("127.0.0.1:10000", "gateway:10000");
    assert!(load(&plain).is_ok());
    assert!(load(&plain.replace("demonstration", "standard")).is_err());
}

#[test]
fn tells_all_problems_in_order_of_lines_and_what_was_meant() {
    let ConfigError::Bad { problems, .. } = load("tenat: x\nlog: { levle: info }\n").unwrap_err() else {
        panic!("bad")
    };
    let meant = problems.iter().find(|problem| problem.field == "log.levle").unwrap();
    assert_eq!((meant.line, meant.hint.as_str()), (2, "did you mean `level`?"));
    assert!(problems.len() >= 8, "{problems:#?}");
    assert!(problems.is_sorted_by_key(|problem| problem.line));
}

#[test]
fn i9_a_password_in_a_url_is_not_repeated() {
    let error = load(&GOOD.replace("http://127.0.0.1:10000", "https://u:canary@g.example")).unwrap_err();
    assert!(!format!("{error:?}").contains("canary"));
}

#[test]
fn refuses_an_empty_file_and_a_second_document() {
    assert!(load("").is_err());
    assert!(load(&format!("{GOOD}---\na: 1\n")).is_err());
}

#[test]
fn v9_names_the_file_that_is_missing_to_use_a_key_in_a_transit_engine() {
    let dir = tempfile::tempdir().unwrap();
    let keys = "vault: {keys: [{file: key/made-at-the-first-start}, {transit: {address: 'https://vault.example', key: k, \
                token_file: token, ca_file: ca.pem}}]}";
    let text = GOOD.replace("key_file: var/key/master.key", keys);
    let config = Config::from_text(&dir.path().join("sallyport.yaml"), &text).unwrap();
    let missing = || match config.check_files() {
        Err(ConfigError::Named { field, named, .. }) => Some((field, named)),
        Err(other) => panic!("{other}"),
        Ok(()) => None,
    };
    for (field, file) in [("vault.keys.transit.token_file", "token"), ("vault.keys.transit.ca_file", "ca.pem")] {
        let named = dir.path().join(file);
        assert_eq!(missing(), Some((field, named.clone())));
        std::fs::write(named, "something").unwrap();
    }
    assert_eq!(missing(), None);
}
