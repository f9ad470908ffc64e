mod follow;

use super::*;
use crate::clock::{SystemClock, UnixTime};
use crate::keys;
use crate::model::{Auth, Generation, GrantKey, PrincipalKind, SecretRef, ServerName};
use crate::secret::Secret;
use crate::secrets::Secrets;
use crate::store::sqlite::SqliteStore;
use crate::store::{GrantCommit, Material, Sealed, Standing};
use crate::vault::Vault;

const GROUP: &str = "type: provider-account/mcp-server-group
name: demo
integrations:
  - type: integration/mcp-server/remote
    name: echo
    url: https://echo.example/mcp
    authorized_subjects: ['team:platform', 'user:bob@example.com']
    auth_data: { type: header, headers: { X-Api-Key: 'tfy-secret://t:keys:echo' } }
";
const TEAM: &str = "type: team\nname: platform\nmembers: [alice@example.com]\n";

const SHOP: &str = "type: external-identity
name: shop
issuer: https://shop.example
";

/// One without login, one with, and the gate's own.
fn issuers() -> Arc<Issuers> {
    let issuer = |name: &str, login, self_issued| sallyport_caller::Issuer {
        issuer: name.to_owned(),
        keys: vec![],
        audiences: vec![],
        profile: sallyport_caller::TokenProfile::AccessToken,
        subject_claim: "sub".to_owned(),
        email_claim: None,
        teams_claim: None,
        max_lifetime_ms: 1000,
        required_scopes: vec![],
        self_issued,
        login,
    };
    Arc::new(Issuers::new([
        issuer("https://shop.example", false, false),
        issuer("https://id.example", true, false),
        issuer("https://gate.example", false, true),
    ]))
}

struct World {
    _dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    registry: Registry,
    secrets: Secrets,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("data")).await.unwrap());
    let tenant = Tenant("t".to_owned());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let vault = Vault::open_or_create(dir.path().join("key/master.key"), &tenant).unwrap();
    let audit = Audit::start(Arc::clone(&store), Arc::clone(&clock), tenant.clone());
    let secrets = Secrets::new(Arc::clone(&store), vault, audit.clone(), Arc::clone(&clock), tenant.clone());
    let registry = Registry::load(Arc::clone(&store), audit, clock, tenant, issuers()).await.unwrap();
    World { _dir: dir, store, registry, secrets }
}

impl World {
    async fn with_secret(self) -> Self {
        let secret = SecretRef { group: "keys".to_owned(), key: "echo".to_owned() };
        self.secrets.set(&secret, &Secret::new("v"), &["demo".to_owned()], Actor::operator(0)).await.unwrap();
        self
    }

    async fn apply(&self, texts: &[&str], options: Options) -> Report {
        let file = |(index, text): (usize, &&str)| Document { file: format!("{index}.yaml"), text: (*text).to_owned() };
        let documents: Vec<_> = texts.iter().enumerate().map(file).collect();
        self.registry.apply(&documents, options, Actor::operator(7)).await.unwrap()
    }

    async fn applied(&self, texts: &[&str]) -> Report {
        let report = self.apply(texts, Options::default()).await;
        assert!(report.problems.is_empty(), "{:#?}", report.problems);
        report
    }
}

fn echo() -> ServerName {
    ServerName("demo/echo".to_owned())
}

#[tokio::test]
async fn what_is_applied_is_served_told_and_there_after_a_restart() {
    let world = world().await.with_secret().await;
    let mut servers = world.registry.subscribe();
    let report = world.applied(&[GROUP, TEAM]).await;
    assert!(report.applied.iter().all(|applied| applied.changed && applied.diff.is_empty()));
    servers.changed().await.unwrap();
    let now = servers.borrow().clone();
    assert_eq!(now.revision, 1);
    assert!(now.by_name.contains_key(&echo()));
    assert_eq!(now.memberships["user:alice@example.com"], ["platform"]);
    let audit = world.store.audit(0, "unix#7", "", "manifest.apply", 10).await.unwrap();
    assert_eq!(audit.len(), 1);
    let tenant = Tenant("t".to_owned());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let again = Audit::start(Arc::clone(&world.store), Arc::clone(&clock), tenant.clone());
    let again = Registry::load(Arc::clone(&world.store), again, clock, tenant, issuers()).await.unwrap();
    assert_eq!(again.servers(), now);
}

#[tokio::test]
async fn one_bad_manifest_changes_nothing_of_the_others() {
    let world = world().await.with_secret().await;
    let report = world.apply(&[GROUP, "type: team\nname: platform\nmembrs: []\n", "::: {"], Options::default()).await;
    assert!(report.applied.is_empty());
    let files: Vec<_> = report.problems.iter().map(|problem| problem.file.as_str()).collect();
    assert!(files.contains(&"1.yaml") && files.contains(&"2.yaml"), "{files:?}");
    assert_eq!(world.registry.servers().revision, 0);
    assert_eq!(world.store.manifests().await.unwrap(), (0, vec![]));
}

#[tokio::test]
async fn refuses_secrets_that_are_not_there_or_not_for_this_manifest() {
    let world = world().await;
    let told = |report: Report| {
        let [problem] = report.problems.as_slice() else { panic!("{:#?}", report.problems) };
        assert_eq!((problem.line, problem.field.as_str()), (8, "integrations[0].auth_data.headers.X-Api-Key"));
        assert_eq!(problem.hint, "set it with `sallyport secret set keys:echo --owner demo`");
        problem.message.clone()
    };
    assert_eq!(told(world.apply(&[GROUP], Options::default()).await), "there is no secret group `keys`");
    let set = async |key: &str, owner: &str| {
        let secret = SecretRef { group: "keys".to_owned(), key: key.to_owned() };
        world.secrets.set(&secret, &Secret::new("v"), &[owner.to_owned()], Actor::operator(0)).await.unwrap();
    };
    set("other", "elsewhere").await;
    assert_eq!(told(world.apply(&[GROUP], Options::default()).await), "`demo` is not an owner of secret group `keys`");
    set("other", "demo").await;
    assert_eq!(told(world.apply(&[GROUP], Options::default()).await), "secret group `keys` has no key `echo`");
    set("echo", "demo").await;
    world.applied(&[GROUP]).await;
}

#[tokio::test]
async fn refuses_one_name_twice() {
    let world = world().await;
    let report = world.apply(&[TEAM, TEAM], Options::default()).await;
    assert_eq!(report.problems[0].message, "`platform` is also at 0.yaml:1");
    assert_eq!(report.problems[0].file, "1.yaml");
}

#[tokio::test]
async fn a_dry_run_tells_everything_and_changes_nothing() {
    let world = world().await.with_secret().await;
    world.applied(&[GROUP]).await;
    let changed = GROUP.replace("team:platform", "team:other").replace("https://echo", "https://echo2");
    let report = world.apply(&[&changed], Options { dry_run: true, show_diff: true }).await;
    let applied = &report.applied[0];
    assert!(applied.changed);
    let title = "(provider-account/mcp-server-group)";
    assert!(applied.diff.contains(&format!("--- existing/demo {title}\n+++ new/demo {title}\n")), "{}", applied.diff);
    assert!(applied.diff.contains("-  url: https://echo.example/mcp"), "{}", applied.diff);
    let expected = [
        "team:other gains demo/echo",
        "team:platform loses demo/echo",
        "demo/echo moves from https://echo.example/mcp to https://echo2.example/mcp",
    ];
    assert_eq!(applied.effects, expected);
    assert_eq!(world.registry.servers().revision, 1);
    assert_eq!(world.store.manifests().await.unwrap().0, 1);
}

#[tokio::test]
async fn the_same_again_makes_no_revision() {
    let world = world().await;
    world.applied(&[TEAM]).await;
    let report = world.applied(&[TEAM]).await;
    assert!(!report.applied[0].changed && report.applied[0].effects.is_empty());
    assert_eq!(world.registry.servers().revision, 1);
}

#[tokio::test]
async fn a_membership_is_told_with_what_it_opens() {
    let world = world().await.with_secret().await;
    world.applied(&[GROUP, TEAM]).await;
    let team = "type: team\nname: platform\nmembers: [bob@example.com, carol@example.com]\n";
    let report = world.applied(&[team]).await;
    let expected = [
        "user:alice@example.com leaves team:platform and loses demo/echo",
        "user:bob@example.com joins team:platform and gains no server",
        "user:carol@example.com joins team:platform and gains demo/echo",
    ];
    assert_eq!(report.applied[0].effects, expected);
}

#[tokio::test]
async fn the_diff_counts_the_grants_that_need_new_consent() {
    let world = world().await.with_secret().await;
    let personal = GROUP.replace(
        "{ type: header, headers: { X-Api-Key: 'tfy-secret://t:keys:echo' } }",
        "{ type: oauth2, grant_type: authorization_code, authorization_url: 'https://idp.example/authorize', token_url:
         'https://idp.example/token', client_id: gate, client_secret: 'tfy-secret://t:keys:echo', scopes: [read] }",
    );
    world.applied(&[&personal]).await;
    let Auth::AuthorizationCode(code) = world.registry.servers().by_name[&echo()].auth.clone() else { panic!() };
    for holder in ["alice", "bob"] {
        let key = GrantKey { provider_client: code.client.id.clone(), holder: holder.to_owned() };
        let id = keys::grant_id(&Tenant("t".to_owned()), &key);
        let at = UnixTime(1);
        let access_token = Sealed(vec![0]);
        let material = Material { access_token, refresh_token: None, issued_at: at, expires_at: at, refresh_after: at };
        let (scopes, auth_revisions) = (code.scopes.clone(), vec![code.auth_revision.clone()]);
        let commit = GrantCommit {
            id,
            key,
            generation: Generation(1),
            material,
            scopes,
            auth_revisions,
            account: None,
            consented_at: None,
            consented_by: None,
            invalidates: None,
        };
        world.store.commit_grant(&commit).await.unwrap();
    }
    for (from, to, lost) in [
        ("scopes: [read]", "scopes: []", false),
        ("scopes: [read]", "scopes: [read, write]", true),
        ("https://echo.example", "https://evil.example", true),
        ("echo.example/mcp", "echo.example/v2", false),
    ] {
        let report = world.apply(&[&personal.replace(from, to)], Options { dry_run: true, show_diff: false }).await;
        let told = report.applied[0].effects.contains(&"2 grant(s) for demo/echo need new consent".to_owned());
        assert_eq!(told, lost, "{to}: {:?}", report.applied[0].effects);
    }
}

#[tokio::test]
async fn a_server_left_out_of_its_group_is_gone() {
    let world = world().await.with_secret().await;
    world.applied(&[GROUP]).await;
    let other = GROUP.replace("name: echo", "name: shout");
    let report = world.applied(&[&other]).await;
    let expected =
        ["demo/shout is new: team:platform, user:bob@example.com may use it", "demo/echo is gone for everybody"];
    assert_eq!(report.applied[0].effects, expected);
    assert!(!world.registry.servers().by_name.contains_key(&echo()));
}

#[tokio::test]
async fn an_apply_of_another_broker_is_seen_before_ours() {
    let world = world().await.with_secret().await;
    let row = StoredManifest {
        name: "platform".to_owned(),
        kind: "team".to_owned(),
        body: r#"{"type":"team","name":"platform","members":["alice@example.com"]}"#.to_owned(),
    };
    world.store.put_manifests(0, &[row], "other", SystemClock.now()).await.unwrap();
    world.applied(&[GROUP]).await;
    let servers = world.registry.servers();
    assert_eq!(servers.revision, 2);
    assert_eq!(servers.memberships["user:alice@example.com"], ["platform"]);
}

#[tokio::test]
async fn i8_a_stored_manifest_that_is_not_understood_stops_the_start() {
    let world = world().await;
    let row = StoredManifest {
        name: "x".to_owned(),
        kind: "team".to_owned(),
        body: r#"{"type":"team","name":"x","members":[],"later":1}"#.to_owned(),
    };
    world.store.put_manifests(0, &[row], "later version", SystemClock.now()).await.unwrap();
    let refused = world.registry.apply(&[], Options::default(), Actor::operator(0)).await;
    assert!(matches!(refused, Err(RegistryError::Stored { problems }) if problems[0].field == "later"));
}

#[tokio::test]
async fn refuses_an_external_identity_of_an_issuer_that_has_none() {
    let world = world().await;
    for (issuer, message) in [
        ("https://other.example", "is not an issuer of this gateway"),
        ("https://shop.example/", "is not an issuer of this gateway"),
        ("https://id.example", "has `login: true`"),
        ("https://gate.example", "is the gateway itself"),
    ] {
        let report = world.apply(&[&SHOP.replace("https://shop.example", issuer)], Options::default()).await;
        let [problem] = report.problems.as_slice() else { panic!("{issuer}: {:#?}", report.problems) };
        assert_eq!((problem.file.as_str(), problem.line, problem.field.as_str()), ("0.yaml", 3, "issuer"));
        assert!(problem.message.contains(issuer) && problem.message.contains(message), "{problem}");
        assert!(!problem.hint.is_empty(), "{problem}");
    }
    assert!(world.registry.servers().external_identities.is_empty());
    world.applied(&[SHOP]).await;
}

#[tokio::test]
async fn refuses_two_external_identities_of_one_name() {
    let world = world().await;
    let report = world.apply(&[SHOP, &format!("{SHOP}claims: {{tenant: acme}}\n")], Options::default()).await;
    assert_eq!(report.problems[0].message, "`shop` is also at 0.yaml:1");
    assert!(world.registry.servers().external_identities.is_empty());
}

#[tokio::test]
async fn an_external_identity_is_told_with_whom_it_means_and_what_it_opens() {
    let world = world().await.with_secret().await;
    world.applied(&[&GROUP.replace("user:bob@example.com", "external-identity:shop")]).await;
    let report = world.applied(&[SHOP]).await;
    let new = "external-identity:shop is new: users of https://shop.example act as it, and may use demo/echo";
    assert_eq!(report.applied[0].effects, [new]);
    let acme = SHOP.replace("name: shop", "name: acme\nclaims: {tenant: acme}");
    let report = world.applied(&[&acme]).await;
    let expected = [
        "external-identity:acme is new: users of https://shop.example with tenant=\"acme\" act as it, and may use no server",
        "who matches external-identity:shop too acts as external-identity:acme",
    ];
    assert_eq!(report.applied[0].effects, expected);
    let confirmed = acme.replace("tenant: acme", "tenant: umbrella") + "verifier_url: https://shop.example/confirm\n";
    let report = world.applied(&[&confirmed]).await;
    let expected = [
        "external-identity:acme stands for users of https://shop.example with tenant=\"umbrella\" instead of users of https://shop.example with tenant=\"acme\"",
        "who matches external-identity:shop too acts as external-identity:acme",
        "users of external-identity:acme confirm who they are at https://shop.example/confirm",
    ];
    assert_eq!(report.applied[0].effects, expected);
    let held = &world.registry.servers().external_identities["acme"];
    assert_eq!(held.rule.claims["tenant"], "umbrella");
    assert_eq!(held.verifier_url.as_ref().unwrap().as_str(), "https://shop.example/confirm");
}

#[tokio::test]
async fn the_owners_of_a_virtual_account_are_told_as_they_change() {
    let world = world().await;
    let account = |owners: &str| format!("type: virtual-account\nname: ci\nowners: [{owners}]\n");
    let report = world.applied(&[&account("")]).await;
    assert_eq!(report.applied[0].effects, ["virtualaccount:ci is owned by nobody: nobody can consent for it"]);
    world.applied(&[&account("'user:alice@example.com'")]).await;
    let report = world.applied(&[&account("'user:bob@example.com'")]).await;
    let expected =
        ["user:bob@example.com owns virtualaccount:ci", "user:alice@example.com owns virtualaccount:ci no longer"];
    assert_eq!(report.applied[0].effects, expected);
    assert_eq!(world.registry.servers().virtual_accounts["ci"].owners, ["user:bob@example.com"]);
}

/// A grant of the virtual account `ci` that this user agreed to; answers its id.
async fn agreed_to_by(world: &World, email: &str, client: &str) -> String {
    let account = PrincipalKind::VirtualAccount { name: "ci".to_owned() };
    let owner = PrincipalKind::User { email: email.to_owned() };
    let [account, owner] =
        [account, owner].map(|kind| async move { world.store.ensure_principal(&kind, None, UnixTime(1)).await });
    let (holder, by) = (account.await.unwrap().id.0, owner.await.unwrap().id);
    let key = GrantKey { provider_client: client.to_owned(), holder };
    let id = keys::grant_id(&Tenant("t".to_owned()), &key);
    let (access_token, at) = (Sealed(vec![0]), UnixTime(1));
    let material = Material { access_token, refresh_token: None, issued_at: at, expires_at: at, refresh_after: at };
    let commit = GrantCommit {
        id: id.clone(),
        key,
        generation: Generation(1),
        material,
        scopes: vec![],
        auth_revisions: vec![],
        account: None,
        consented_at: Some(at),
        consented_by: Some(by),
        invalidates: None,
    };
    world.store.commit_grant(&commit).await.unwrap();
    id
}

#[tokio::test]
async fn an_owner_who_leaves_is_told_with_the_grants_that_go_on() {
    let world = world().await;
    let account = |owners: &str| format!("type: virtual-account\nname: ci\nowners: [{owners}]\n");
    world.applied(&[&account("'user:alice@example.com', 'user:bob@example.com'")]).await;
    let of_alice = agreed_to_by(&world, "alice@example.com", "one").await;
    let of_bob = agreed_to_by(&world, "bob@example.com", "two").await;
    let ended = agreed_to_by(&world, "alice@example.com", "three").await;
    let revoked = Standing::Revoked("operator".to_owned());
    world.store.end_grant(&ended, Generation(1), &revoked, UnixTime(2)).await.unwrap();
    let report = world.apply(&[&account("'user:bob@example.com'")], Options { dry_run: true, show_diff: false }).await;
    let told = report.applied[0].effects.join("\n");
    assert!(told.contains("user:alice@example.com owns virtualaccount:ci no longer"), "{told}");
    let goes_on = format!(
        "virtualaccount:ci goes on acting as user:alice@example.com, who agreed to grant {of_alice}; \
         `sallyport grants revoke {of_alice}` ends it"
    );
    assert!(told.contains(&goes_on), "{told}");
    assert!(!told.contains(&of_bob) && !told.contains(&ended), "{told}");
    world.applied(&[&account("'user:bob@example.com'")]).await;
    let kept = world.store.grant_by_id(&of_alice).await.unwrap().unwrap();
    assert_eq!(kept.standing, Standing::Live);
}

#[tokio::test]
async fn an_external_identity_outlives_its_issuer_s_leaving_the_configuration() {
    let world = world().await;
    world.applied(&[SHOP]).await;
    let (clock, tenant): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), Tenant("t".to_owned()));
    let audit = Audit::start(Arc::clone(&world.store), Arc::clone(&clock), tenant.clone());
    let nobody = Arc::new(Issuers::default());
    let again = Registry::load(Arc::clone(&world.store), audit, clock, tenant, nobody).await.unwrap();
    assert_eq!(again.servers(), world.registry.servers(), "the start is not stopped by it");
    let document = Document { file: "0.yaml".to_owned(), text: SHOP.to_owned() };
    let report = again.apply(&[document], Options::default(), Actor::operator(7)).await.unwrap();
    assert_eq!(report.problems.len(), 1, "but it is not applied again");
}

#[tokio::test]
async fn o3_refuses_servers_that_differ_in_what_they_say_of_one_client() {
    let world = world().await.with_secret().await;
    let own = "{ type: oauth2, grant_type: authorization_code, authorization_url: 'https://idp.example/authorize',
         token_url: 'https://idp.example/token', client_id: gate, client_secret: 'tfy-secret://t:keys:echo' }";
    let theirs = GROUP.replace("{ type: header, headers: { X-Api-Key: 'tfy-secret://t:keys:echo' } }", own);
    world.applied(&[&theirs]).await;
    let another = theirs.replace("name: demo", "name: a").replace("name: echo", "name: thief");
    for (from, to) in [
        ("client_id: gate", "client_id: gate, revocation_url: 'https://thief.example/revoke'"),
        ("client_id: gate", "client_id: gate, issuer: 'https://thief.example'"),
        ("client_id: gate", "client_id: gate, client_authentication: client_secret_post"),
        ("client_secret: 'tfy-secret://t:keys:echo'", "client_authentication: none"),
    ] {
        let report = world.apply(&[&another.replace(from, to)], Options::default()).await;
        assert!(report.problems.iter().any(|problem| problem.message.contains("one client at one provider")), "{to}");
        assert_eq!(world.registry.servers().by_name.len(), 1, "nothing is applied");
    }
    let other_client = another.replace("client_id: gate", "client_id: thief, issuer: 'https://thief.example'");
    let report = world.apply(&[&other_client], Options { dry_run: true, show_diff: false }).await;
    assert!(
        !report.problems.iter().any(|problem| problem.message.contains("one client")),
        "another client is nobody's"
    );
}
