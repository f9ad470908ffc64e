//! The commands as operators see them: what is typed, what is printed, what the exit code is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::Connection;

const CONFIG: &str = "mode: demonstration
tenant: demo
public_url: http://127.0.0.1:10000
data_dir: data
key_file: key/master.key
grpc: { socket: run/broker.sock }
admin: { socket: admin/admin.sock }
http: { listen: \"127.0.0.1:0\" }
";

const GROUP: &str = "type: provider-account/mcp-server-group
name: demo
integrations:
  - type: integration/mcp-server/remote
    name: echo
    url: https://echo.example/mcp
    authorized_subjects: ['team:platform']
    auth_data: { type: header, headers: { X-Api-Key: 'tfy-secret://demo:keys:echo' } }
";

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `sallyport` in `dir`, with `input` on standard input.
fn sallyport(dir: &Path, arguments: &[&str], input: &str) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sallyport"))
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Answer {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn refused(dir: &Path, arguments: &[&str], code: i32, stderr: &str) {
    let answer = sallyport(dir, arguments, "");
    assert_eq!((answer.code, answer.stderr.as_str(), answer.stdout.as_str()), (code, stderr, ""), "{arguments:?}");
}

fn done(dir: &Path, arguments: &[&str], input: &str) -> String {
    let answer = sallyport(dir, arguments, input);
    assert_eq!(answer.code, 0, "{arguments:?}: {}", answer.stderr);
    answer.stdout
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// A broker that ends with the test.
struct Broker(Child);

impl Broker {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sallyport"))
            .arg("serve")
            .current_dir(dir)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while sallyport(dir, &["servers"], "").code != 0 {
            let ended = child.try_wait().unwrap();
            if ended.is_some() || begun.elapsed() > Duration::from_secs(20) {
                let _ = child.kill();
                let mut log = String::new();
                child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
                panic!("the broker does not serve ({ended:?}): {log}");
            }
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_bad_configuration_is_refused_with_every_flaw_and_its_remedy() {
    let bad = CONFIG.replace("mode: demonstration", "mode: demo").replace("tenant: demo", "tenent: demo");
    let dir = directory(&[("sallyport.yaml", &bad)]);
    let told = "error: sallyport.yaml:1: tenant: is missing
hint: name this deployment, for example `tenant: acme`
error: sallyport.yaml:1: mode: `demo` is not known here
hint: use `standard` or `demonstration`
error: sallyport.yaml:2: tenent: unknown field
hint: did you mean `tenant`?
error: sallyport.yaml:6: grpc: `allowed_peer_uids` is missing, so no proxy could connect
hint: list the Unix user ids that Envoy runs under
";
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for command in [&["serve"][..], &["config", "check"], &["servers"]] {
        let answer = sallyport(dir.path(), command, "");
        assert_eq!((answer.code, sorted(&answer.stderr)), (1, sorted(told)), "{command:?}");
        assert!(!dir.path().join("data").exists() && !dir.path().join("key").exists());
    }
}

#[test]
fn a_configuration_that_is_not_there_or_names_files_that_are_not_is_refused() {
    let dir = directory(&[("sallyport.yaml", &format!("{CONFIG}upstream: {{ ca_file: ca.pem }}\n"))]);
    let missing =
        "error: cannot read other.yaml: No such file or directory (os error 2)\nhint: name it with `-c FILE`\n";
    refused(dir.path(), &["serve", "-c", "other.yaml"], 1, missing);
    let answer = sallyport(dir.path(), &["config", "check"], "");
    assert_eq!(answer.code, 1);
    assert!(
        answer.stderr.starts_with("error: sallyport.yaml: upstream.ca_file: cannot read ca.pem: No such file"),
        "{}",
        answer.stderr
    );
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let dir = directory(&[("sallyport.yaml", CONFIG)]);
    assert_eq!(done(dir.path(), &["config", "check"], ""), "sallyport.yaml is good\n");
}

#[test]
fn who_reads_no_further_ends_a_command_without_a_word() {
    let dir = directory(&[("sallyport.yaml", CONFIG)]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_sallyport"))
        .args(["config", "check"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(141), ""));
}

#[test]
fn without_a_broker_every_command_says_which_socket_and_how_to_start() {
    let dir = directory(&[("sallyport.yaml", CONFIG), ("group.yaml", GROUP)]);
    let told = "error: no broker answers on admin/admin.sock: No such file or directory (os error 2)
hint: start it with: sallyport serve -c sallyport.yaml
";
    for command in [
        &["servers"][..],
        &["apply", "-f", "group.yaml"],
        &["secret", "list"],
        &["secret", "set", "keys:echo", "--owner", "demo"],
        &["token", "list"],
        &["token", "issue", "--user", "alice@example.com", "--ttl", "8h"],
        &["token", "revoke", "id"],
        &["grants", "list"],
        &["grants", "show", "id"],
        &["grants", "refresh", "id"],
        &["grants", "revoke", "id"],
        &["audit", "query"],
        &["audit", "verify"],
    ] {
        refused(dir.path(), command, 3, told);
    }
    let named = told.replace("admin/admin.sock", "nowhere.sock");
    refused(dir.path(), &["servers", "--admin-socket", "nowhere.sock"], 3, &named);
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_code_2() {
    let dir = directory(&[("sallyport.yaml", CONFIG)]);
    for command in [
        &[][..],
        &["aply"],
        &["apply"],
        &["apply", "-f", "x.yaml", "--show-diff"],
        &["token", "issue", "--ttl", "8h"],
        &["token", "issue", "--user", "a@b", "--virtual-account", "c", "--ttl", "8h"],
        &["token", "issue", "--user", "a@b", "--ttl", "8"],
        &["secret", "set"],
        &["grants", "revoke"],
        &["grants", "revoke", "id", "--all-of", "alice@example.com"],
    ] {
        assert_eq!(sallyport(dir.path(), command, "").code, 2, "{command:?}");
    }
}

#[test]
fn every_command_helps_with_an_example() {
    let dir = directory(&[]);
    for command in [
        &["serve"][..],
        &["apply"],
        &["secret", "set"],
        &["secret", "list"],
        &["token", "issue"],
        &["token", "list"],
        &["token", "revoke"],
        &["grants", "list"],
        &["grants", "show"],
        &["grants", "refresh"],
        &["grants", "revoke"],
        &["key", "list"],
        &["key", "rotate"],
        &["key", "rewrap"],
        &["key", "shred"],
        &["backup"],
        &["restore"],
        &["store", "migrate-to"],
        &["servers"],
        &["audit", "query"],
        &["audit", "verify"],
        &["config", "check"],
    ] {
        let help = done(dir.path(), &[command, &["--help"]].concat(), "");
        assert!(help.contains("Example") && help.contains("sallyport "), "{command:?}: {help}");
    }
}

#[test]
fn files_that_cannot_be_applied_are_refused_before_the_broker_is_asked() {
    let dir = directory(&[("sallyport.yaml", CONFIG)]);
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    refused(
        dir.path(),
        &["apply", "-f", "none.yaml"],
        1,
        "error: cannot read none.yaml: No such file or directory (os error 2)\n",
    );
    refused(
        dir.path(),
        &["apply", "-f", "empty"],
        1,
        "error: empty holds no manifest\nhint: name a file, or a directory with `.yaml` files in it\n",
    );
}

#[test]
fn a_broker_that_is_asked_to_end_waits_for_no_client_that_never_finishes() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = CONFIG.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let dir = directory(&[("sallyport.yaml", &config)]);
    let mut broker = Broker::start(dir.path());
    let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut log = broker.0.stderr.take().unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    // The log ends with the process.
    std::thread::spawn(move || done.send(log.read_to_string(&mut String::new()).is_ok()));
    assert!(Command::new("kill").arg(broker.0.id().to_string()).status().unwrap().success());
    assert!(ended.recv_timeout(Duration::from_secs(25)).unwrap(), "it still waits");
    let ended = broker.0.wait().unwrap();
    assert!(ended.success(), "{ended}");
}

/// Changes the database of a broker that runs, as whoever can write its file could.
fn tamper(dir: &Path, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("data/sallyport.db"));
        let mut database = sqlx::sqlite::SqliteConnection::connect_with(&options).await.unwrap();
        let changed = sqlx::query(statement).execute(&mut database).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{statement}");
    });
}

#[test]
fn audit_verify_names_the_first_record_that_was_changed_or_taken_out() {
    let dir = directory(&[("sallyport.yaml", CONFIG)]);
    let dir = dir.path();
    let _broker = Broker::start(dir);
    let none = format!("whole: 0 records, the last with hash {}\n", "0".repeat(64));
    assert_eq!(done(dir, &["audit", "verify"], ""), none);
    for key in ["first", "second", "third"] {
        done(dir, &["secret", "set", &format!("keys:{key}"), "--owner", "demo"], "canary");
    }
    let whole: serde_json::Value = serde_json::from_str(&done(dir, &["audit", "verify", "--json"], "")).unwrap();
    let last = done(dir, &["audit", "query", "--after", "2", "--limit", "1"], "");
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(whole, serde_json::json!({ "whole": true, "sequence": 3, "hash": last["hash"] }));

    let hint = "hint: keep the database as it is, and compare it with a backup from that record on\n";
    tamper(dir, "UPDATE audit SET json = replace(json, 'second', 'another') WHERE sequence = 2");
    refused(dir, &["audit", "verify"], 1, &format!("error: audit record 2 was changed\n{hint}"));
    tamper(dir, "DELETE FROM audit WHERE sequence = 1");
    let missing = sallyport(dir, &["audit", "verify", "--json"], "");
    let told: serde_json::Value = serde_json::from_str(&missing.stdout).unwrap();
    let problem = "audit record 1 is missing";
    assert_eq!((missing.code, missing.stderr), (1, format!("error: {problem}\n{hint}")));
    assert_eq!(told, serde_json::json!({ "whole": false, "sequence": 1, "problem": problem }));
}

/// One broker for the whole story, since its start is what takes time.
#[test]
fn an_operators_day() {
    let dir = directory(&[("sallyport.yaml", CONFIG), ("group.yaml", GROUP)]);
    let dir = dir.path();
    let _broker = Broker::start(dir);

    // A manifest whose secret is not there changes nothing.
    let problem = "error: group.yaml:8: integrations[0].auth_data.headers.X-Api-Key: there is no secret group `keys`
hint: set it with `sallyport secret set keys:echo --owner demo`
";
    refused(dir, &["apply", "-f", "group.yaml"], 1, problem);
    assert_eq!(done(dir, &["servers", "--json"], ""), "[]\n");

    refused(
        dir,
        &["secret", "set", "keys:echo", "--owner", "demo"],
        1,
        "error: the value is empty\nhint: give it on standard input, or with `--from-file FILE`\n",
    );
    let unowned = sallyport(dir, &["secret", "set", "keys:echo"], "canary\n");
    assert_eq!(unowned.code, 1);
    assert!(unowned.stderr.contains("hint: add `--owner NAME`"), "{}", unowned.stderr);
    let set = done(dir, &["secret", "set", "keys:echo", "--owner", "demo"], "canary\n");
    assert_eq!(set, "tfy-secret://demo:keys:echo\n");
    assert_eq!(done(dir, &["secret", "list"], ""), "tfy-secret://demo:keys:echo  demo\n");

    let dry = done(dir, &["apply", "-f", "group.yaml", "--dry-run", "--show-diff"], "");
    let configured = "Successfully configured manifest demo of type provider-account/mcp-server-group.";
    assert_eq!(dry, format!("[Dry Run] {configured}\n  demo/echo is new: team:platform may use it\n"));
    assert_eq!(
        done(dir, &["apply", "-f", "group.yaml"], ""),
        format!("{configured}\n  demo/echo is new: team:platform may use it\n")
    );
    assert_eq!(done(dir, &["apply", "-f", "group.yaml"], ""), format!("{configured} (No changes were applied)\n"));
    let servers: serde_json::Value = serde_json::from_str(&done(dir, &["servers", "--json"], "")).unwrap();
    assert_eq!(servers[0]["url"], "http://127.0.0.1:10000/mcp-server/demo/echo/server");
    assert_eq!(servers[0]["auth"], "header");

    // A bad manifest beside a good one changes nothing either.
    std::fs::write(dir.join("bad.yaml"), GROUP.replace("X-Api-Key", "Host")).unwrap();
    let bad = sallyport(dir, &["apply", "-f", "bad.yaml", "--json"], "");
    let told: serde_json::Value = serde_json::from_str(&bad.stdout).unwrap();
    assert_eq!((bad.code, &told["problems"][0]["line"]), (1, &serde_json::json!(8)));
    assert_eq!(told["applied"], serde_json::json!([]));

    let issued = sallyport(dir, &["token", "issue", "--user", "Alice@example.com", "--ttl", "8h"], "");
    let token = issued.stdout.trim();
    assert_eq!((issued.code, token.matches('.').count()), (0, 2));
    let id = issued.stderr.split([' ', ',']).nth(1).unwrap();
    let list = done(dir, &["token", "list"], "");
    assert!(list.starts_with(&format!("{id}  valid  user:alice@example.com  expires ")), "{list}");
    assert_eq!(done(dir, &["token", "revoke", id], ""), format!("revoked {id}\n"));
    assert!(done(dir, &["token", "list"], "").contains("revoked"));
    refused(
        dir,
        &["token", "revoke", "none"],
        1,
        "error: there is no token with the id `none`\nhint: see `sallyport token list`\n",
    );
    assert_eq!(done(dir, &["grants", "list", "--user", "alice@example.com", "--json"], ""), "[]\n");
    assert_eq!(
        done(dir, &["grants", "revoke", "--all-of", "alice@example.com"], ""),
        "there was nothing left to revoke\n"
    );
    let hint = "hint: see `sallyport grants list` and `sallyport servers`\n";
    for (arguments, told) in [
        (&["grants", "list", "--server", "demo/none"][..], format!("error: there is no server `demo/none`\n{hint}")),
        (
            &["grants", "list", "--user", "bob@example.com"],
            format!("error: nobody is known as bob@example.com\n{hint}"),
        ),
        (
            &["grants", "revoke", "--all-of", "bob@example.com"],
            "error: nobody is known as bob@example.com\nhint: see `sallyport grants list`\n".to_owned(),
        ),
        (
            &["grants", "show", "none"],
            "error: there is no grant with the id `none`\nhint: see `sallyport grants list`\n".to_owned(),
        ),
    ] {
        refused(dir, arguments, 1, &told);
    }
    let fingerprint = done(dir, &["audit", "fingerprint"], "ya29.leaked\n");
    std::fs::write(dir.join("leaked.txt"), "ya29.leaked").unwrap();
    assert_eq!(done(dir, &["audit", "fingerprint", "--from-file", "leaked.txt"], ""), fingerprint);
    assert_ne!(done(dir, &["audit", "fingerprint"], "ya29.other"), fingerprint);
    let told: serde_json::Value =
        serde_json::from_str(&done(dir, &["audit", "fingerprint", "--json"], "ya29.leaked")).unwrap();
    assert_eq!(told, serde_json::json!({ "fingerprint": fingerprint.trim_end() }));
    assert_eq!(done(dir, &["audit", "query", "--fingerprint", fingerprint.trim_end()], ""), "");
    let long = sallyport(dir, &["token", "issue", "--virtual-account", "runtime", "--ttl", "400d"], "");
    assert_eq!((long.code, long.stdout.as_str()), (1, ""));

    let audit = done(dir, &["audit", "query"], "");
    let events: Vec<_> = audit.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["secret.set", "manifest.apply", "token.issue", "token.revoke"]);
    assert!(!audit.contains("canary") && !audit.contains(token), "i9");
    assert_eq!(done(dir, &["audit", "query", "--event", "token.issue", "--limit", "1"], "").lines().count(), 1);

    // A second broker on the same data does not begin.
    let second = sallyport(dir, &["serve"], "");
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains("another broker serves from data; give each its own data_dir"), "{}", second.stderr);
}

#[test]
fn a_backup_is_taken_of_a_broker_that_serves_and_put_back_where_none_does() {
    let dir = directory(&[("sallyport.yaml", CONFIG)]);
    let dir = dir.path();
    let broker = Broker::start(dir);
    done(dir, &["secret", "set", "keys:echo", "--owner", "demo"], "canary");
    let taken: serde_json::Value = serde_json::from_str(&done(dir, &["backup", "backup.db", "--json"], "")).unwrap();
    assert_eq!((taken["keys"].as_array().unwrap().len(), &taken["waiting"]), (1, &serde_json::json!(0)));
    assert!(!std::fs::read(dir.join("backup.db")).unwrap().windows(6).any(|bytes| bytes == b"canary"));
    let again = sallyport(dir, &["backup", "backup.db"], "");
    assert!(again.code == 1 && again.stderr.contains("not overwritten"), "{}", again.stderr);
    let serving = sallyport(dir, &["restore", "backup.db"], "");
    assert!(serving.code == 1 && serving.stderr.contains("another broker serves"), "{}", serving.stderr);
    drop(broker);
    let there = sallyport(dir, &["restore", "backup.db"], "");
    assert!(there.code == 1 && there.stderr.contains("not overwritten"), "{}", there.stderr);
    std::fs::rename(dir.join("data"), dir.join("lost")).unwrap();
    let restored = done(dir, &["restore", "backup.db"], "");
    assert!(restored.contains("people agree anew"), "{restored}");
    let _broker = Broker::start(dir);
    assert_eq!(done(dir, &["secret", "list"], ""), "tfy-secret://demo:keys:echo  demo\n");
    assert!(done(dir, &["audit", "verify"], "").starts_with("whole: "));
}

#[test]
fn what_is_sealed_is_destroyed_only_where_that_is_meant() {
    let dir = directory(&[("sallyport.yaml", CONFIG)]);
    let dir = dir.path();
    let _broker = Broker::start(dir);
    done(dir, &["secret", "set", "keys:echo", "--owner", "demo"], "canary");
    let dry = done(dir, &["key", "shred", "--tenant", "demo", "--dry-run"], "");
    assert!(dry.contains("would be destroyed"), "{dry}");
    for (arguments, said) in [
        (&["key", "shred", "--tenant", "demo"][..], "nothing was destroyed"),
        (&["key", "shred", "--tenant", "another", "--yes"], "the tenant of this broker is `demo`"),
        (&["key", "shred", "--user", "alice@example.com", "--yes"], "nobody is known"),
    ] {
        let refused = sallyport(dir, arguments, "demo\n");
        assert!(refused.code == 1 && refused.stderr.contains(said), "{arguments:?}: {}", refused.stderr);
    }
    assert_eq!(done(dir, &["secret", "list"], ""), "tfy-secret://demo:keys:echo  demo\n");
    let done_to_all = done(dir, &["key", "shred", "--tenant", "demo", "--yes"], "");
    assert!(done_to_all.contains("were destroyed"), "{done_to_all}");
    assert_eq!(done(dir, &["secret", "list"], ""), "");
    assert_eq!(done(dir, &["audit", "query", "--event", "key.shredded"], "").lines().count(), 1);
}
