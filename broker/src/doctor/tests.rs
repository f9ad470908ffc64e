//! What only a machine that is not in order shows.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use super::{Finding, Verdict, certificate, keys, machine};
use crate::clock::{Clock as _, SystemClock, UnixTime};
use crate::config::Config;

/// A broker's configuration in this directory, with master keys as `vault` says.
fn config(dir: &Path, vault: &str) -> Config {
    let text = format!(
        "mode: demonstration\ntenant: demo\npublic_url: http://127.0.0.1:10000\ndata_dir: data\n{vault}\n\
         grpc: {{ socket: run/broker.sock, allowed_peer_uids: [1337] }}\nadmin: {{ socket: admin/admin.sock }}\n\
         http: {{ listen: \"127.0.0.1:10001\" }}\nnetwork: {{ allow: [\"127.0.0.0/8\"] }}\n\
         issuers: [{{ issuer: \"http://127.0.0.1:4000\", login: true, algorithms: [RS256] }}]\n"
    );
    Config::from_text(&dir.join("sallyport.yaml"), &text).unwrap_or_else(|error| panic!("{error:?}"))
}

const KEY_FILE: &str = "key_file: key/master.key";

fn make(dir: &Path, name: &str, mode: u32) {
    let path = dir.join(name);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn of<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{check}: {findings:?}"))
}

#[test]
fn what_is_not_good_has_a_remedy_whatever_was_said() {
    for remedy in ["", "  "] {
        for finding in [Finding::warning("a", "b", remedy), Finding::bad("a", "b", remedy)] {
            assert!(finding.remedy().is_some_and(|remedy| remedy.contains("log")), "{finding:?}");
        }
    }
    assert_eq!(Finding::bad("a", "b", "mend it").remedy(), Some("mend it"));
    assert_eq!(Finding::good("a", "b").remedy(), None);
}

#[test]
fn a_socket_in_a_directory_that_others_may_enter_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), KEY_FILE);
    make(dir.path(), "run", 0o750);
    make(dir.path(), "admin", 0o700);
    for check in ["socket for proxies", "socket for operators"] {
        assert_eq!(of(&machine::files(&config), check).verdict(), Verdict::Good);
    }
    for (name, mode, check, remedy) in [
        ("run", 0o755, "socket for proxies", "chmod 750 "),
        ("run", 0o770, "socket for proxies", "chmod 750 "),
        ("admin", 0o755, "socket for operators", "chmod 700 "),
        ("admin", 0o710, "socket for operators", "chmod 700 "),
    ] {
        make(dir.path(), name, mode);
        let findings = machine::files(&config);
        let found = of(&findings, check);
        assert_eq!(found.verdict(), Verdict::Bad, "{mode:o}");
        assert!(found.told.contains(&format!("has mode {mode:04o}")), "{found:?}");
        let remedy = format!("{remedy}{}", dir.path().join(name).display());
        assert_eq!(found.remedy(), Some(remedy.as_str()));
    }
}

#[test]
fn a_key_file_is_missing_only_where_something_may_be_sealed_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), KEY_FILE);
    assert_eq!(of(&machine::files(&config), "key file").verdict(), Verdict::Good, "before the first start");
    make(dir.path(), "data", 0o700);
    let findings = machine::files(&config);
    let found = of(&findings, "key file");
    assert_eq!(found.verdict(), Verdict::Bad);
    assert!(found.told.contains("key/master.key does not exist"), "{found:?}");
    assert!(found.remedy().unwrap().contains("put back the file"), "{found:?}");
}

#[tokio::test]
async fn v4_a_key_service_that_is_away_is_found_by_who_looks_in_a_brokers_place() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "canary-token").unwrap();
    let transit = format!(
        "vault: {{ keys: [{{ transit: {{ address: \"http://127.0.0.1:1\", key: sallyport, token_file: {} }} }}] }}",
        token.display()
    );
    let findings = keys::seen_from_here(&config(dir.path(), &transit)).await;
    let [found] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(found.verdict(), Verdict::Bad);
    assert!(found.check.starts_with("master key ") && found.told.contains("cannot be reached"), "{found:?}");
    assert!(found.told.contains("127.0.0.1:1") && !found.told.contains("canary"), "{found:?}");
    assert!(found.remedy().unwrap().contains("mend what the cause names"), "{found:?}");
    assert_eq!(keys::seen_from_here(&config(dir.path(), KEY_FILE)).await, [], "keys in files are looked at as files");
}

/// A certificate in a file, good until this second.
fn certificate_until(file: &Path, until: UnixTime) {
    let mut params = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
    let until = i64::try_from(until.0 / 1000).unwrap();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(until.unsigned_abs());
    std::fs::write(file, params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();
}

#[test]
fn a_certificate_is_good_until_a_week_before_its_end_and_bad_from_its_end_on() {
    const DAY: u64 = 24 * 60 * 60;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.pem");
    let ends = UnixTime(SystemClock.now().0 / 1000 * 1000 + 30 * DAY * 1000);
    certificate_until(&file, ends);
    for (left, verdict, told) in [
        (30 * DAY, Verdict::Good, "is good until"),
        (7 * DAY, Verdict::Good, "is good until"),
        (7 * DAY - 1, Verdict::Warning, "is good until"),
        (1, Verdict::Warning, "is good until"),
        (0, Verdict::Bad, "expired at"),
    ] {
        let found = certificate::finding("certificate for proxies", &file, UnixTime(ends.0 - left * 1000));
        assert_eq!(found.verdict(), verdict, "{left} s before its end");
        assert!(found.told.contains(told) && found.told.contains(&ends.to_rfc3339()), "{found:?}");
        assert_eq!(found.remedy().is_some(), verdict > Verdict::Good, "{found:?}");
    }
    let past = UnixTime(ends.0 + 90 * DAY * 1000);
    assert_eq!(certificate::finding("c", &file, past).verdict(), Verdict::Bad, "long after");
    for text in ["", "no certificate"] {
        std::fs::write(&file, text).unwrap();
        let found = certificate::finding("c", &file, ends);
        assert!(found.verdict() == Verdict::Bad && found.told.contains("holds no certificate"), "{found:?}");
    }
    assert_eq!(certificate::finding("c", &dir.path().join("none"), ends).verdict(), Verdict::Bad);
}
