//! As many idle proxies as a company has, at one broker: what they cost, and that a change reaches them all.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use e2e::{broker_api, rounds, run, spawn, unique};
use sallyport_proto::broker::{WatchSnapshotRequest, broker_client::BrokerClient, update::Update};
use tokio::sync::{Semaphore, mpsc};
use tonic::transport::Channel;

use super::*;

/// Streams of one connection: a worker of a proxy has one, and many workers share what is between.
const OF_A_CONNECTION: usize = 100;

/// Opened at the same time.
const AT_ONCE: usize = 200;

/// One stream of so many is asked when it heard what.
const SAMPLED: usize = 100;

/// Heartbeats that each of those waits for.
const HEARTBEATS: usize = 5;

/// Until a change has reached everybody, from when the command that made it has ended (I11).
const FELT: Duration = Duration::from_secs(2);

/// Between one sign of life and the next, of which there is one each second: with more, a revocation could come too late
/// unnoticed.
const SILENCE: Duration = Duration::from_secs(2);

/// What an idle proxy has heard.
#[derive(Clone, Copy)]
enum Heard {
    Version(u64),
    Heartbeat(Instant),
}

/// Kilobytes that this process has in memory.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every process has it");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// One idle proxy, which reads whatever it is told and passes every version on, and of a sample the heartbeats, too.
async fn watches(
    mut api: BrokerClient<Channel>,
    number: usize,
    tell: mpsc::UnboundedSender<(usize, Heard)>,
    turn: Arc<Semaphore>,
) {
    let mut turn = Some(turn.acquire_owned().await.expect("it is not closed"));
    let request = WatchSnapshotRequest { proxy: unique("proxy"), version: 0, filter_version: String::new() };
    let mut updates = api.watch_snapshot(request).await.expect("it is taken").into_inner();
    while let Ok(Some(update)) = updates.message().await {
        let heard = match update.update {
            Some(Update::Full(snapshot)) => Heard::Version(snapshot.version),
            Some(Update::Delta(delta)) => Heard::Version(delta.to),
            Some(Update::Heartbeat(_)) if number.is_multiple_of(SAMPLED) => Heard::Heartbeat(Instant::now()),
            _ => continue,
        };
        turn = None;
        // Nobody listens any more once the test is over.
        if tell.send((number, heard)).is_err() {
            break;
        }
    }
    drop(turn);
}

#[test]
fn a_change_reaches_every_one_of_many_idle_proxies_of_a_broker_with_a_key_file() {
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
            if let (number, Heard::Version(has)) = told.recv().await.expect("they go on") {
                there.insert(number);
                version = version.max(has);
            }
        }
        println!("{count} streams opened in {:?}", started.elapsed());
        let each = resident(pid).saturating_sub(before) * 1024 / count as u64;
        println!("{each} bytes of memory each");
        let changed = Instant::now();
        world.server().apply().await;
        let applied = changed.elapsed();
        let (mut reached, mut beats) = (BTreeSet::new(), BTreeMap::<usize, Vec<Instant>>::new());
        while reached.len() < count {
            match told.recv().await.expect("they go on") {
                (number, Heard::Version(has)) if has > version => drop(reached.insert(number)),
                (_, Heard::Version(_)) => {}
                (number, Heard::Heartbeat(at)) => beats.entry(number).or_default().push(at),
            }
        }
        let told_after = changed.elapsed();
        println!("all were told {told_after:?} after the command was begun, which took {applied:?} itself");
        let sampled = count.div_ceil(SAMPLED);
        while beats.len() < sampled || beats.values().any(|beats| beats.len() <= HEARTBEATS) {
            if let (number, Heard::Heartbeat(at)) = told.recv().await.expect("they go on") {
                beats.entry(number).or_default().push(at);
            }
        }
        let gaps = beats.values().flat_map(|beats| beats.windows(2).map(|pair| pair[1] - pair[0]));
        let longest = gaps.max().expect("each has some");
        println!("at most {longest:?} between two heartbeats of {sampled} of them");
        assert!(each < 64 * 1024, "{each} bytes each");
        assert!(told_after <= applied + FELT, "{told_after:?} for all, {applied:?} for the command");
        assert!(longest <= SILENCE, "{longest:?} without a heartbeat");
    });
}
