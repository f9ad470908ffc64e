//! `cargo xtask up` and the README's calls, typed as a newcomer types them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use e2e::{Child, Chromium, eventually_within, free_ports, run, unique};
use serde_json::Value;

/// A demo in a directory of its own, so that it does not meet one that somebody runs in this checkout.
struct Demo {
    process: Child,
    var: PathBuf,
    ports: u16,
}

impl Demo {
    async fn up() -> (Self, Value) {
        let var = format!("var/{}", unique("up"));
        std::fs::create_dir_all(root().join(&var)).expect("the checkout is writable");
        let (mut command, ports) = (cargo_xtask(), free_ports(8));
        command.args(["up", "--var", &var, "--port-base", &ports.to_string()]);
        let process = Child::start(command, &root().join(&var).join("up.log"));
        let mut demo = Self { process, var: root().join(var), ports };
        let file = demo.var.join("up.json");
        let up = eventually_within(Duration::from_secs(300), "up.json", async || {
            assert!(demo.process.ended().is_none(), "up has ended");
            serde_json::from_slice(&std::fs::read(&file).ok()?).ok()
        })
        .await;
        (demo, up)
    }

    /// Runs a piece of the README with this demo's directory and ports in place of the usual ones.
    fn paste(&self, block: &str) -> Output {
        let block = self.here(block);
        Command::new("bash").arg("-euc").arg(block).current_dir(root()).output().expect("bash is there")
    }

    fn here(&self, block: &str) -> String {
        let var = self.var.display();
        let block =
            block.replace("var/", &format!("{var}/")).replace("backend-group.yaml", &format!("{var}/group.yaml"));
        let [idp, analytics] = [self.ports + 3, self.ports + 6];
        block
            .replace("127.0.0.1:4000", &format!("127.0.0.1:{idp}"))
            .replace("127.0.0.1:4003", &format!("127.0.0.1:{analytics}"))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.process.kill();
        let _ = std::fs::remove_dir_all(&self.var);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the checkout is there")
}

fn cargo_xtask() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.arg("xtask").current_dir(root());
    command
}

/// The first block in a language after a heading of the README.
fn block_after(heading: &str, language: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README is there");
    let section = readme.split_once(heading).expect("the README has the heading").1;
    section
        .split_once(&format!("```{language}\n"))
        .expect("a block begins")
        .1
        .split_once("```")
        .expect("it ends")
        .0
        .to_owned()
}

/// The steps that the README gives for the link in this answer.
async fn connects_as_alice(up: &Value, said: &str) {
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    let begins = format!("{}/connect/", text(&up["gateway_url"]));
    let link = said.split(['"', ' ', '\\']).find(|word| word.starts_with(&begins)).expect("a link to visit");
    let user =
        up["idp"]["users"].as_array().into_iter().flatten().find(|user| user["login"] == "alice").expect("alice");
    let alice = Chromium::person().await;
    alice.opens(link).await;
    alice.presses("Sign in").await;
    let issuer = text(&up["idp"]["issuer"]);
    alice.presses(&format!("Sign in at {}", issuer.trim_start_matches("http://"))).await;
    alice.types("login", "alice").await;
    alice.types("password", &text(&user["password"])).await;
    alice.presses("Continue").await;
    alice.sees("Authorize").await;
    alice.presses("Continue").await;
    alice.sees("An agent wants to use demo/notes on your behalf.").await;
    alice.presses("Connect").await;
    alice.presses("Continue").await;
    alice.sees("Return to your agent and let it try again.").await;
    alice.leaves().await;
}

#[test]
fn embedded_up_serves_and_the_readmes_calls_show_the_swapped_credential_and_then_alices_own() {
    run(async {
        let (demo, up) = Demo::up().await;
        for path in ["/gateway_url", "/broker_url", "/admin_socket", "/envoy_admin_url", "/idp/issuer"] {
            assert!(up.pointer(path).is_some_and(Value::is_string), "{path}");
        }
        for who in ["alice", "bob", "runtime"] {
            assert!(up["tokens"][who].is_string(), "{who}");
        }
        assert!(up["idp"]["users"][0]["login"].is_string() && up["idp"]["users"][0]["password"].is_string());
        let auths: Vec<_> = up["servers"].as_object().unwrap().values().map(|server| &server["auth"]).collect();
        assert_eq!(auths, ["client_credentials", "none", "authorization_code", "header"]);

        let said = demo.paste(&block_after("### A first call", "sh"));
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains(r#"\"scheme\":\"Bearer\""#) && said.contains(r#"\"sub\":\"analytics\""#), "{said}");
        let inbound = up["tokens"]["alice"].as_str().unwrap();
        assert!(!said.contains(&inbound[inbound.len() - 6..]), "i1: {said}");

        let second = block_after("### A first call", "sh") + &block_after("### A second call", "sh");
        let said = String::from_utf8(demo.paste(&second).stdout).unwrap();
        assert!(said.contains("-31001"), "{said}");
        connects_as_alice(&up, &said).await;
        let said = String::from_utf8(demo.paste(&second).stdout).unwrap();
        assert!(said.contains(r#"\"sub\":\"u-1001\""#), "{said}");

        std::fs::write(demo.var.join("group.yaml"), demo.here(&block_after("## Registering", "yaml"))).unwrap();
        let registered = demo.paste(&block_after("## Registering", "sh"));
        assert!(registered.status.success(), "{}", String::from_utf8_lossy(&registered.stderr));
        let call = block_after("### A first call", "sh").replace("demo/analytics", "backend-group/internal-analytics");
        eventually_within(Duration::from_secs(5), "the README's server", async || {
            let said = String::from_utf8(demo.paste(&call).stdout).unwrap();
            said.contains(r#"\"sub\":\"analytics\""#).then_some(())
        })
        .await;

        let second = cargo_xtask().args(["up", "--var"]).arg(&demo.var).output().unwrap();
        assert!(second.status.success());
        assert!(String::from_utf8_lossy(&second.stdout).contains("already running"));
    });
}

#[test]
fn embedded_up_names_a_busy_port_and_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let var = format!("var/{}", unique("up"));
    let up = cargo_xtask().args(["up", "--var", &var, "--port", &port]).output().unwrap();
    let said = String::from_utf8_lossy(&up.stderr).into_owned();
    std::fs::remove_dir_all(root().join(&var)).unwrap();
    assert!(!up.status.success());
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
}
