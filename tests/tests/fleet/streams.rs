//! As many idle proxies as a company has, at one broker: what they cost, and that a change reaches them all.

use std::{collections::BTreeSet, time::Instant};

use e2e::{broker_api, rounds, run, spawn, unique};
use sallyport_proto::broker::{WatchSnapshotRequest, broker_client::BrokerClient, update::Update};
use tokio::sync::{Semaphore, mpsc};
use tonic::transport::Channel;

use super::*;

/// Streams of one connection: a worker of a proxy has one, and many workers share what is between.
const OF_A_CONNECTION: usize = 100;

/// Opened at the same time.
const AT_ONCE: usize = 200;

/// Kilobytes that this process has in memory.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every process has it");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// One idle proxy, which reads whatever it is told and passes every version on.
async fn watches(
    mut api: BrokerClient<Channel>,
    number: usize,
    tell: mpsc::UnboundedSender<(usize, u64)>,
    turn: Arc<Semaphore>,
) {
    let mut turn = Some(turn.acquire_owned().await.expect("it is not closed"));
    let request = WatchSnapshotRequest { proxy: unique("proxy"), version: 0, filter_version: String::new() };
    let mut updates = api.watch_snapshot(request).await.expect("it is taken").into_inner();
    while let Ok(Some(update)) = updates.message().await {
        let version = match update.update {
            Some(Update::Full(snapshot)) => snapshot.version,
            Some(Update::Delta(delta)) => delta.to,
            _ => continue,
        };
        turn = None;
        // Nobody listens any more once the test is over.
        if tell.send((number, version)).is_err() {
            break;
        }
    }
    drop(turn);
}

#[test]
fn a_change_reaches_every_one_of_many_idle_proxies() {
    run(async {
        let world = World::build().key_file().start().await;
        let count = rounds(2_000, 20_000);
        let pid = world.broker.child().pid();
        let before = resident(pid);
        let (tell, mut told) = mpsc::unbounded_channel();
        let (started, turn) = (Instant::now(), Arc::new(Semaphore::new(AT_ONCE)));
        for first in (0..count).step_by(OF_A_CONNECTION) {
            let api = broker_api(&world.broker.grpc).await.expect("the same user may connect");
            for number in first..count.min(first + OF_A_CONNECTION) {
                spawn(watches(api.clone(), number, tell.clone(), turn.clone()));
            }
        }
        let (mut there, mut version) = (BTreeSet::new(), 0);
        while there.len() < count {
            let (number, has) = told.recv().await.expect("they go on");
            there.insert(number);
            version = version.max(has);
        }
        println!("{count} streams opened in {:?}", started.elapsed());
        let each = resident(pid).saturating_sub(before) * 1024 / count as u64;
        println!("{each} bytes of memory each");
        let changed = Instant::now();
        world.server().apply().await;
        let applied = changed.elapsed();
        let mut reached = BTreeSet::new();
        while reached.len() < count {
            let (number, has) = told.recv().await.expect("they go on");
            if has > version {
                reached.insert(number);
            }
        }
        println!("all were told {:?} after the command was begun, which took {applied:?} itself", changed.elapsed());
        assert!(each < 64 * 1024, "{each} bytes each");
    });
}
