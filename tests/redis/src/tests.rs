use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

const BRIEF: Duration = Duration::from_millis(200);

#[test]
fn a_server_forgets_only_what_it_is_told_to_forget() {
    let mut redis = Redis::start();
    redis.cli(&["set", "a", "1"]);
    redis.kill();
    redis.restart();
    assert_eq!(redis.cli(&["get", "a"]), "1");
    redis.restart_empty();
    assert_eq!(redis.cli(&["get", "a"]), "");
}

#[test]
fn a_server_with_tls_and_a_user_refuses_everybody_else() {
    let redis = Redis::build().tls().user("~a* -@all +get").start();
    let port = redis.port().to_string();
    let mut stranger = Command::new(programs::cli());
    stranger.args(["-p", &port, "--tls", "--cacert"]).arg(redis.ca_file()).args(["get", "a"]);
    let said = String::from_utf8_lossy(&stranger.output().unwrap().stdout).into_owned();
    assert!(said.starts_with("NOAUTH"), "{said}");
    redis.cli(&["set", "b", "1"]);
    for (command, answer) in [(["get", "a"], ""), (["get", "b"], "NOPERM"), (["del", "a"], "NOPERM")] {
        let mut own = Command::new(programs::cli());
        own.args(["-p", &port, "--tls", "--cacert"]).arg(redis.ca_file()).args(["--no-auth-warning", "--user", USER]);
        let output = own.args(["--pass", PASSWORD]).args(command).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            if answer.is_empty() { said.trim().is_empty() } else { said.starts_with(answer) },
            "{command:?}: {said}"
        );
    }
}

#[test]
fn a_failover_leaves_nothing() {
    let mut sentinels = Sentinels::start();
    sentinels.first.cli(&["set", "a", "1"]);
    eventually("the replica has it", || sentinels.second.cli(&["get", "a"]) == "1");
    sentinels.fail_over_to_nothing();
    assert_eq!(sentinels.second.cli(&["get", "a"]), "");
    assert_eq!(sentinels.second.cli(&["set", "a", "2"]), "OK");
}

#[test]
fn a_cluster_sends_who_asks_the_wrong_server_to_another() {
    let cluster = Cluster::start();
    let told: Vec<_> = cluster.nodes.iter().map(|node| node.cli(&["get", "a"])).collect();
    assert_eq!(told.iter().filter(|said| said.starts_with("MOVED")).count(), 2, "{told:?}");
}

/// What a ping is answered within a moment.
async fn ping(connection: &mut TcpStream) -> Option<usize> {
    connection.write_all(b"PING\r\n").await.ok()?;
    timeout(BRIEF, connection.read(&mut [0; 64])).await.ok()?.ok()
}

#[tokio::test]
async fn a_link_is_slow_silent_or_cut_as_it_is_told() {
    let redis = Redis::start();
    let link = Link::to(redis.port()).await;
    let mut connection = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
    assert_eq!(ping(&mut connection).await, Some(7));
    link.set(Mode::Slow(BRIEF));
    assert_eq!(ping(&mut connection).await, None);
    link.set(Mode::Partitioned);
    let mut later = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
    assert_eq!(ping(&mut later).await, None);
    link.set(Mode::Open);
    assert_eq!(later.read(&mut [0; 64]).await.unwrap(), 7, "what was sent meanwhile arrives");
    link.set(Mode::Cut);
    assert_eq!(later.read(&mut [0; 64]).await.unwrap_or_default(), 0);
}
