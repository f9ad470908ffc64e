//! One machine in place of the containers: each volume is a directory, each host name is loopback, each port a free one.
//! Programs, commands, users, files and health checks are those of the composition.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Child, free_ports, setup, unique};
use serde_json::Value;

use super::{root, stage, texts};

/// What is there of the fleet.
pub(crate) struct Machine {
    dir: PathBuf,
    composition: Value,
    /// What stands for a port of a service.
    ports: BTreeMap<(&'static str, u16), u16>,
    running: BTreeMap<String, Child>,
}

const PORTS: [(&str, u16); 8] = [
    ("postgres", 5432),
    ("redis", 6379),
    ("broker-1", 10002),
    ("broker-1", 10001),
    ("broker-2", 10002),
    ("broker-2", 10001),
    ("envoy", 8443),
    ("envoy", 9901),
];

/// Programs that are copied, so that every user may run them.
const PROGRAMS: [&str; 2] = ["sallyport", "envoy"];

impl Machine {
    pub(crate) fn new(composition: &Value) -> Self {
        let dir = std::env::temp_dir().join(unique("fleet"));
        directory(&dir, 0, 0o755);
        let ports = PORTS.into_iter().zip(free_ports(8)..).collect();
        let machine = Self { dir, composition: composition.clone(), ports, running: BTreeMap::new() };
        for sub in ["bin", "files", "out", "lib"] {
            directory(&machine.dir.join(sub), 0, 0o755);
        }
        for (program, from) in PROGRAMS.into_iter().zip([&setup().broker, &setup().envoy]) {
            fs::copy(from, machine.dir.join("bin").join(program)).unwrap();
        }
        fs::copy(&setup().wasm, machine.dir.join("lib/filter.wasm")).unwrap();
        fs::copy(root().join("envoy/component-log-level"), machine.dir.join("lib/component-log-level")).unwrap();
        let envoy = Command::new(root().join("docker/envoy-config.sh")).arg(root().join("envoy/envoy.yaml")).output();
        let envoy = String::from_utf8(envoy.unwrap().stdout).unwrap();
        fs::write(machine.dir.join("lib/envoy.yaml"), machine.here("envoy", &envoy)).unwrap();
        machine
    }

    fn service(&self, name: &str) -> &Value {
        &self.composition["services"][name]
    }

    /// Who runs it. Postgres must be somebody the system knows.
    fn uid(&self, service: &str) -> u32 {
        match service {
            "postgres" => fs::read_to_string("/etc/passwd")
                .unwrap()
                .lines()
                .find_map(|line| line.strip_prefix("postgres:x:")?.split(':').next()?.parse().ok())
                .expect("the user of Debian's package"),
            _ => self.service(service)["user"].as_str().unwrap().split(':').next().unwrap().parse().unwrap(),
        }
    }

    /// Where a volume is: those that `prepare` fills are below its argument.
    fn volume(&self, name: &str) -> PathBuf {
        let mounts = texts(&self.service("prepare")["volumes"]);
        let filled = mounts.iter().find_map(|mount| mount.strip_prefix(&format!("{name}:"))?.strip_suffix(":rw"));
        self.dir.join(filled.map_or_else(|| name.to_owned(), |path| path.trim_start_matches('/').to_owned()))
    }

    /// Text of a service with its paths, hosts and ports as they are here.
    fn here(&self, service: &str, text: &str) -> String {
        let mut text = text.to_owned();
        let mut places = Vec::new();
        for mount in texts(&self.service(service)["volumes"]) {
            let [source, target, ..] = *mount.split(':').collect::<Vec<_>>() else { panic!("{mount}") };
            let here = match source.starts_with('/') {
                true => self.dir.join("files").join(format!("{service}-{}", source.rsplit('/').next().unwrap())),
                false => self.volume(source),
            };
            places.push((target.to_owned(), here));
        }
        for mount in texts(&self.service(service)["tmpfs"]) {
            let target = mount.split(':').next().unwrap();
            places.push((target.to_owned(), self.dir.join(format!("{service}{}", target.replace('/', "-")))));
        }
        places.push(("/usr/lib/sallyport".to_owned(), self.dir.join("lib")));
        // The longest first: `/etc/sallyport/key` before `/etc/sallyport`. In two steps, since what is put there has such
        // paths in it.
        places.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        for (number, (target, _)) in places.iter().enumerate() {
            text = text.replace(target, &format!("\u{1}{number}\u{1}"));
        }
        for (number, (_, here)) in places.iter().enumerate() {
            text = text.replace(&format!("\u{1}{number}\u{1}"), &here.display().to_string());
        }
        for ((of, port), here) in &self.ports {
            let (port, here) = (port.to_string(), here.to_string());
            text = text.replace(&format!("{of}, port_value: {port}"), &format!("127.0.0.1, port_value: {here}"));
            text = text.replace(&format!("@{of}:{port}"), &format!("@127.0.0.1:{here}"));
            text = text.replace(&format!("//localhost:{port}"), &format!("//localhost:{here}"));
            if *of == service {
                text = text.replace(&port, &here);
            }
        }
        text
    }

    /// Runs `docker/prepare.sh` as the composition does, and puts addresses of here in what it made.
    pub(crate) fn prepare(&self) {
        let out = self.dir.join("out");
        for mount in texts(&self.service("prepare")["volumes"]) {
            let name = mount.split(':').next().unwrap();
            directory(&self.volume(name), 0, 0o700);
        }
        let done = Command::new(root().join("docker/prepare.sh")).arg(&out).status().unwrap();
        assert!(done.success());
        for address in ["postgres-url", "redis-url"] {
            let file = self.volume("broker-files").join(address);
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o400);
            fs::write(&file, self.here("broker-1", &fs::read_to_string(&file).unwrap())).unwrap();
        }
        for file in fs::read_dir(self.volume("postgres-files")).unwrap() {
            chown(file.unwrap().path(), Some(self.uid("postgres")), None).unwrap();
        }
        chown(self.volume("postgres-files"), Some(self.uid("postgres")), None).unwrap();
    }

    /// Runs `docker/prepare.sh` once more, as is documented for certificates that are about to expire.
    pub(crate) fn renew(&self) {
        let renewed = Command::new(root().join("docker/prepare.sh")).arg(self.dir.join("out")).arg("renew").status();
        assert!(renewed.unwrap().success());
    }

    /// What a file that was prepared holds.
    pub(crate) fn prepared(&self, volume: &str, file: &str) -> String {
        fs::read_to_string(self.volume(volume).join(file)).unwrap()
    }

    /// Starts a service by its command, as its user.
    pub(crate) fn start(&mut self, name: &str) {
        let uid = self.uid(name);
        for mount in texts(&self.service(name)["volumes"]) {
            let [source, _, ..] = *mount.split(':').collect::<Vec<_>>() else { panic!("{mount}") };
            if source.starts_with('/') {
                let copy = self.dir.join("files").join(format!("{name}-{}", source.rsplit('/').next().unwrap()));
                fs::write(copy, self.here(name, &fs::read_to_string(source).unwrap())).unwrap();
            } else if !self.volume(source).exists() {
                directory(&self.volume(source), uid, 0o700);
            }
        }
        for mount in texts(&self.service(name)["tmpfs"]) {
            directory(Path::new(&self.here(name, mount.split(':').next().unwrap())), uid, 0o700);
        }
        let command = match name {
            "postgres" => self.postgres(),
            "redis" => texts(&self.service(name)["command"]).into_iter().map(str::to_owned).collect(),
            broker if broker.starts_with("broker") => self.of_stage("broker"),
            _ => self.of_stage("envoy"),
        };
        let command: Vec<_> = command.iter().map(|word| self.here(name, word)).collect();
        let child = Child::start(self.as_user(uid, &command), &self.dir.join(format!("{name}.log")));
        self.running.insert(name.to_owned(), child);
    }

    /// Entry point and command of a stage of the Dockerfile.
    fn of_stage(&self, name: &str) -> Vec<String> {
        let stage = stage(name);
        let words = |instruction: &str| -> Vec<String> {
            let line = stage.lines().find_map(|line| line.strip_prefix(instruction)).unwrap();
            serde_json::from_str(line).unwrap()
        };
        let mut words = [words("ENTRYPOINT "), words("CMD ")].concat();
        words[0] = words[0].trim_start_matches("/usr/local/bin/").to_owned();
        words
    }

    /// What the image's own start does with its variables, and then the command.
    fn postgres(&self) -> Vec<String> {
        let environment = &self.service("postgres")["environment"];
        let text = |name: &str| environment[name].as_str().unwrap().to_owned();
        let data = self.volume("postgres-data");
        let programs = fs::read_dir("/usr/lib/postgresql").unwrap().map(|version| version.unwrap().path().join("bin"));
        let programs = programs.max().unwrap();
        let (user, password) = (text("POSTGRES_USER"), self.here("postgres", &text("POSTGRES_PASSWORD_FILE")));
        let mut initdb = vec![programs.join("initdb").display().to_string(), "-D".into(), data.display().to_string()];
        initdb.extend([format!("--username={user}"), format!("--pwfile={password}"), "--no-sync".into()]);
        initdb.extend(text("POSTGRES_INITDB_ARGS").split(' ').map(str::to_owned));
        let uid = self.uid("postgres");
        let done = self.as_user(uid, &initdb).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let create = format!("CREATE DATABASE {}", text("POSTGRES_DB"));
        let single = [
            programs.join("postgres").display().to_string(),
            "--single".into(),
            "-D".into(),
            data.display().to_string(),
            "postgres".into(),
        ];
        let line = format!("echo '{create}' | {}", single.join(" "));
        assert!(self.as_user(uid, &["sh".into(), "-c".into(), line]).status().unwrap().success());
        let mut command: Vec<String> =
            texts(&self.service("postgres")["command"]).into_iter().map(str::to_owned).collect();
        command[0] = programs.join("postgres").display().to_string();
        let port = self.ports[&("postgres", 5432)];
        command.extend([
            "-D".into(),
            data.display().to_string(),
            "-p".into(),
            port.to_string(),
            "-k".into(),
            data.display().to_string(),
        ]);
        command
    }

    fn as_user(&self, uid: u32, words: &[String]) -> Command {
        let mut command = Command::new("setpriv");
        let uid = uid.to_string();
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--no-new-privs", "--pdeathsig", "KILL"]);
        let path = std::env::var("PATH").unwrap();
        command.args(words).env("PATH", format!("{}:{path}", self.dir.join("bin").display())).current_dir(&self.dir);
        command
    }

    /// Runs the health check once.
    pub(crate) fn is_healthy(&mut self, name: &str) -> bool {
        let ended = self.running.get_mut(name).and_then(Child::ended);
        assert!(ended.is_none(), "{name} ended: {ended:?}");
        let test = texts(&self.service(name)["healthcheck"]["test"]);
        let mut words: Vec<String> = match test[0] {
            "CMD" => test[1..].iter().map(|word| self.here(name, word)).collect(),
            _ => vec!["sh".into(), "-c".into(), self.here(name, test[1])],
        };
        if name == "postgres" {
            let port = self.ports[&("postgres", 5432)];
            words.push(format!("--port={port}"));
        }
        self.as_user(self.uid(name), &words).output().unwrap().status.success()
    }

    /// Runs `sallyport` in the place of this broker.
    pub(crate) fn sallyport(&self, broker: &str, arguments: &[&str]) -> String {
        let config = self.here(broker, "/etc/sallyport/sallyport.yaml");
        let words: Vec<String> =
            ["sallyport", "-c", &config].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        let output = self.as_user(self.uid(broker), &words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A file that every user may read.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// What an agent of this token is answered.
    pub(crate) fn call(&self, token: &str) -> String {
        let port = self.ports[&("envoy", 8443)];
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--http1.1", "--max-time", "10", "--cacert"]).arg(self.volume("envoy-files").join("tls.crt"));
        curl.arg(format!("https://localhost:{port}/mcp-server/tools/search/server"));
        curl.args(["-H", &format!("Authorization: Bearer {token}"), "-H", "Content-Type: application/json"]);
        curl.args(["-H", "Accept: application/json, text/event-stream", "-d"]);
        curl.arg(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{}}}"#);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    }

    /// Asks it to end, as the engine would.
    pub(crate) fn terminate(&mut self, name: &str) {
        self.running[name].terminate();
    }

    /// Whether it has.
    pub(crate) fn has_ended(&mut self, name: &str) -> bool {
        self.running.get_mut(name).is_none_or(|child| child.ended().is_some())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.running.clear();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn directory(path: &Path, uid: u32, mode: u32) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    chown(path, Some(uid), Some(uid)).unwrap();
}
