//! `docs/production.md`, pasted block by block: two Unix users, `mode: standard`, TLS, refusals, restart.
//!
//! Only what a test must not touch is replaced: the system's directories by one of its own, the two users by numbers that
//! nobody has, the ports by free ones, and the MCP server by one that records what it gets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Upstream, free_ports, run, setup, unique};

/// What stands for the broker's user and for Envoy's.
const BROKER: &str = "64001";
const ENVOY: &str = "64002";

/// A directory that both users can look into, gone when the test ends.
struct Machine(PathBuf);

impl Machine {
    fn new() -> Self {
        let path = std::env::temp_dir().join(unique("machine"));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    /// The document's shell, on this machine.
    fn script(&self, upstream: &str) -> String {
        let ports = free_ports(3);
        let admin = (ports + 2).to_string();
        let at = |name: &str| self.0.join(name).display().to_string();
        let bootstrap = std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
        // Another Envoy may have the documented admin port.
        let bootstrap = bootstrap.replace("9901", &admin).replace("/usr/lib/sallyport", &at("lib"));
        let bootstrap = bootstrap.replace("/run/sallyport", &at("run")).replace("/etc/sallyport", &at("etc"));
        std::fs::write(self.0.join("bootstrap.yaml"), bootstrap).unwrap();
        let replaced = [
            ("target/release/sallyport", setup().broker.display().to_string()),
            ("envoy/envoy.yaml > ", format!("{} > ", at("bootstrap.yaml"))),
            ("/usr/local/bin", at("bin")),
            ("/usr/lib/sallyport/filter.wasm", at("lib/filter.wasm")),
            ("/etc/sallyport", at("etc")),
            ("/var/lib/sallyport", at("data")),
            ("/run/sallyport/", at("run/")),
            ("-m 750 /run/sallyport", format!("-m 750 {}", at("run"))),
            ("https://search-mcp.example.com/mcp", upstream.to_owned()),
            ("8443", ports.to_string()),
            ("10001", (ports + 1).to_string()),
            ("$(id -u sallyport-envoy)", ENVOY.to_owned()),
            ("chown sallyport-envoy", format!("chown {ENVOY}")),
            ("--reuid sallyport-envoy", format!("--reuid {ENVOY}")),
            ("--reuid sallyport", format!("--reuid {BROKER}")),
            ("--regid sallyport", format!("--regid {BROKER}")),
            ("-o sallyport -g sallyport", format!("-o {BROKER} -g {BROKER}")),
        ];
        replaced.into_iter().fold(blocks(), |script, (documented, here)| {
            assert!(script.contains(documented), "the document no longer says `{documented}`");
            script.replace(documented, &here)
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Every block of shell, each announced by its section; builds are done already, and no user is made.
fn blocks() -> String {
    let document = std::fs::read_to_string(root().join("docs/production.md")).unwrap();
    let mut script = String::new();
    for section in document.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        script += &format!("echo '== {title}'\n");
        for block in section.split("```sh\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            let done = |line: &&str| !line.starts_with("cargo ") && !line.starts_with("useradd ");
            script.extend(block.lines().filter(done).flat_map(|line| [line, "\n"]));
        }
    }
    script
}

#[test]
#[ignore = "needs root, to run broker and Envoy as two other users"]
fn embedded_the_documented_way_to_production_works_as_it_is_written() {
    run(async {
        let (machine, upstream) = (Machine::new(), Upstream::start().await);
        let script = machine.script(&upstream.url);
        let (bin, log) = (machine.0.join("bin"), machine.0.join("log"));
        let path = std::env::var("PATH").unwrap();
        let mut bash = Command::new("timeout");
        bash.args(["120", "bash", "-uc", &format!("trap 'kill $(jobs -p) 2>/dev/null' EXIT\n{script}")]);
        bash.env("PATH", format!("{}:{path}", bin.display())).env("API_KEY", "the-key").current_dir(root());
        let file = std::fs::File::create(&log).unwrap();
        bash.stdout(file.try_clone().unwrap()).stderr(file);
        assert!(tokio::task::spawn_blocking(move || bash.status()).await.unwrap().is_ok());

        let said = std::fs::read_to_string(&log).unwrap();
        let section = |title: &str| {
            let found = said.split("== ").find(|part| part.starts_with(title));
            found.unwrap_or_else(|| panic!("no {title}: {said}"))
        };
        assert!(section("3.").contains("is good") && section("4.").contains("' OK"), "{said}");
        assert!(section("6.").contains(r#""result""#) && section("6.").contains("-31007"), "{said}");
        let denied = ["Permission denied", "curl: ("].map(|words| section("7.").matches(words).count());
        assert_eq!(denied, [3, 2], "{said}");
        assert!(section("7.").contains("as the user that runs the broker"), "{said}");
        assert!(said.contains("allowed_peer_uids does not list was refused"), "{said}");
        assert!(section("8.").contains("under the current master key now"), "{said}");
        assert!(section("8.").contains("opens only  0 secrets"), "{said}");
        assert!(section("9.").contains(r#""ended""#) && section("9.").contains(r#""result""#), "{said}");
        let keys: Vec<_> = upstream.requests().iter().flat_map(|request| request.all("x-api-key")).collect();
        assert_eq!(keys, ["the-key", "the-key"], "once before the restart and once after it");
    });
}
