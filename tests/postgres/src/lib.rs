//! A real Postgres, and PgBouncer in transaction mode before it, for the tests of one process.
//!
//! They run in a directory of their own, in memory where there is plenty, on a Unix socket and on loopback, and end with the
//! process, however it ends.

mod process;
mod programs;
mod tls;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};

use process::{Account, Place};

/// Connections that PgBouncer has to each database: fewer than its clients, so that they share.
const POOL: u32 = 3;
/// How long PgBouncer keeps those of a database whose test is over, seconds: there are hundreds.
const IDLE: u32 = 5;
/// The role that owns every database, and its password: with every character that a URL must escape.
const ROLE: &str = "sallyport";
const PASSWORD: &str = "p@ss/w:rd?#%";

/// Postgres with PgBouncer.
pub struct Server {
    dir: PathBuf,
    port: u16,
    bouncer_port: u16,
}

/// A database of one's own, empty.
pub struct Database {
    /// Its name.
    pub name: String,
    /// Where Postgres listens.
    pub port: u16,
    /// By Postgres's socket.
    pub url: String,
    /// By PgBouncer's socket.
    pub bouncer_url: String,
    /// By TCP and TLS, with a password, to `localhost`.
    pub tls_url: String,
    /// The authority of the certificate for `localhost`.
    pub ca_file: PathBuf,
}

static SHARED: LazyLock<Server> = LazyLock::new(Server::start);
static COUNT: AtomicU32 = AtomicU32::new(0);
static ON_DISK: AtomicBool = AtomicBool::new(false);

impl Server {
    /// The one of this process, started when it is first asked for.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Has those of this process that start from now on keep their files on a disk: what that costs is measured.
    pub fn keep_on_disk() {
        ON_DISK.store(true, Ordering::Relaxed);
    }

    /// One of one's own.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        process::remove_left_over();
        let account = Account::find();
        let place = if ON_DISK.load(Ordering::Relaxed) { Place::Disk } else { Place::Quick };
        let dir = process::directory(&account, place);
        let (data, bouncer) = (dir.join("data"), dir.join("bouncer"));
        // An order of texts other than that of their bytes, as a company's database may have it.
        let locale = ["--locale=C.UTF-8", "--encoding=UTF8", "--locale-provider=icu", "--icu-locale=en"];
        let mut initdb = account.command("KILL", &programs::postgres("initdb"));
        initdb.arg("-D").arg(&data).args(locale).args(["--username=postgres", "--auth=trust", "--no-sync"]);
        process::run(initdb, &dir.join("initdb.log"));
        tls::write(&data);
        account.own(&data.join("server.key"));
        fs::write(data.join("pg_hba.conf"), "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
            .expect("the directory is writable");
        let server = Self { port: free_port(), bouncer_port: free_port(), dir };
        let mut arguments = vec!["-D".to_owned(), data.display().to_string()];
        for setting in [
            format!("port={}", server.port),
            format!("unix_socket_directories={}", server.dir.display()),
            "listen_addresses=127.0.0.1".to_owned(),
            "ssl=on".to_owned(),
            "max_connections=500".to_owned(),
            "shared_buffers=32MB".to_owned(),
        ] {
            arguments.extend(["-c".to_owned(), setting]);
        }
        let log = server.dir.join("postgres.log");
        process::supervise(&account, &programs::postgres("postgres"), &arguments, &server.dir, &log);
        fs::create_dir(&bouncer).expect("the directory is writable");
        account.own(&bouncer);
        let ini = bouncer.join("pgbouncer.ini");
        fs::write(&ini, server.bouncer_configuration(&bouncer)).expect("the directory is writable");
        fs::write(bouncer.join("users.txt"), format!("\"{ROLE}\" \"\"\n")).expect("the directory is writable");
        let mut pgbouncer = account.command("KILL", &programs::pgbouncer());
        pgbouncer.arg("-q").arg(ini);
        process::spawn(pgbouncer, &server.dir.join("pgbouncer.log"));
        server
    }

    /// Ends every process of it at once, as a crash of its machine would, until [`Server::revive`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        for name in ["keep", "down"] {
            fs::write(self.dir.join(name), "").expect("the directory is writable");
        }
        process::signal_all(self.postmaster(), "KILL");
    }

    /// Starts it again after [`Server::kill`]; it recovers, and answers then.
    ///
    /// # Panics
    /// When it was not killed.
    pub fn revive(&self) {
        fs::remove_file(self.dir.join("down")).expect("it was killed");
    }

    /// Starts it again as a standby of nobody: it answers, and takes no writes.
    ///
    /// # Panics
    /// When it does not run.
    pub fn demote(&self) {
        self.kill();
        let signal = self.dir.join("data/standby.signal");
        fs::write(&signal, "").expect("the directory is writable");
        Account::find().own(&signal);
        self.revive();
    }

    /// Freezes it: connections stay open, nothing is answered.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        process::signal_all(self.postmaster(), "STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        process::signal_all(self.postmaster(), "CONT");
    }

    fn postmaster(&self) -> u32 {
        let file = self.dir.join("data/postmaster.pid");
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        text.lines().next().and_then(|line| line.trim().parse().ok()).expect("its first line is a number")
    }

    fn bouncer_configuration(&self, dir: &Path) -> String {
        let (postgres, dir) = (self.dir.display(), dir.display());
        format!(
            "[databases]\n* = host={postgres} port={port}\n[pgbouncer]\nlisten_port = {bouncer_port}\n\
             unix_socket_dir = {dir}\nauth_type = trust\nauth_file = {dir}/users.txt\npool_mode = transaction\n\
             default_pool_size = {POOL}\nmax_client_conn = 500\nserver_idle_timeout = {IDLE}\n",
            port = self.port,
            bouncer_port = self.bouncer_port,
        )
    }

    /// A new database that [`ROLE`] owns.
    ///
    /// # Panics
    /// When Postgres does not come up, or refuses.
    pub async fn database(&self) -> Database {
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut admin = self.administrator("postgres").await;
        let role = format!(
            "DO $$ BEGIN CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$"
        );
        for sql in [role, format!("CREATE DATABASE {name} OWNER {ROLE}")] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("the administrator may do all");
        }
        let Self { dir, port, bouncer_port } = self;
        Database {
            url: format!("postgres://{ROLE}@localhost:{port}/{name}?host={}", dir.display()),
            bouncer_url: format!("postgres://{ROLE}@localhost:{bouncer_port}/{name}?host={}/bouncer", dir.display()),
            tls_url: format!("postgres://{ROLE}:p%40ss%2Fw%3Ard%3F%23%25@localhost:{port}/{name}"),
            ca_file: dir.join("data/ca.crt"),
            port: *port,
            name,
        }
    }

    /// The files that commits go to first, in order of their age.
    ///
    /// # Panics
    /// When they may not be listed.
    pub fn commit_logs(&self) -> Vec<PathBuf> {
        let directory = self.dir.join("data/pg_wal");
        let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
        files
    }

    /// What `pg_dump` makes of a database.
    ///
    /// # Panics
    /// When it refuses.
    pub fn dump(&self, database: &str) -> Vec<u8> {
        let mut command = std::process::Command::new(programs::postgres("pg_dump"));
        command.arg("--host").arg(&self.dir).args(["--port", &self.port.to_string(), "--username=postgres", database]);
        let output = command.output().expect("pg_dump is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// A connection that may do all.
    ///
    /// # Panics
    /// When Postgres does not come up within half a minute.
    pub async fn administrator(&self, database: &str) -> PgConnection {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match self.try_administrator(database).await {
                Ok(connection) => return connection,
                Err(error) if Instant::now() > until => {
                    let log = fs::read_to_string(self.dir.join("postgres.log")).unwrap_or_default();
                    panic!("Postgres does not answer: {error}\n{log}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Server {
    /// The same, once.
    ///
    /// # Errors
    /// When it does not take connections now.
    pub async fn try_administrator(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.dir.to_string_lossy())
            .port(self.port)
            .username("postgres")
            .database(database)
            .ssl_mode(PgSslMode::Disable);
        options.connect().await
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}
