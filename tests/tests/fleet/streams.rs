//! As many idle proxies as a company has, at one broker: what they cost, and that a change reaches them all.

use std::time::Instant;

use e2e::{broker_api, rounds, run, unique};
use futures::{StreamExt, stream};
use sallyport_proto::broker::{WatchSnapshotRequest, update::Update};
use tonic::Streaming;

use super::*;

/// Streams of one connection: a worker of a proxy has one, and many workers share what is between.
const OF_A_CONNECTION: usize = 100;

/// Opened at the same time.
const AT_ONCE: usize = 200;

type Updates = Streaming<sallyport_proto::broker::Update>;

/// Kilobytes that this process has in memory.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every process has it");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// The next version that this stream tells of, after this one.
async fn told(mut updates: Updates, after: u64) -> (u64, Updates) {
    loop {
        let update = updates.message().await.expect("it goes on").expect("it does not end");
        let version = match update.update {
            Some(Update::Full(snapshot)) => snapshot.version,
            Some(Update::Delta(delta)) => delta.to,
            _ => continue,
        };
        if version > after {
            return (version, updates);
        }
    }
}

#[test]
fn a_change_reaches_every_one_of_many_idle_proxies() {
    run(async {
        let world = World::build().key_file().start().await;
        let count = rounds(2_000, 20_000);
        let pid = world.broker.child().pid();
        let before = resident(pid);
        let mut connections = Vec::new();
        for _ in 0..count.div_ceil(OF_A_CONNECTION) {
            connections.push(broker_api(&world.broker.grpc).await.expect("the same user may connect"));
        }
        let open = (0..count).map(|number| {
            let mut api = connections[number / OF_A_CONNECTION].clone();
            let proxy = unique("proxy");
            async move {
                let request = WatchSnapshotRequest { proxy, version: 0, filter_version: String::new() };
                told(api.watch_snapshot(request).await.expect("it is taken").into_inner(), 0).await
            }
        });
        let started = Instant::now();
        let watching: Vec<_> = stream::iter(open).buffer_unordered(AT_ONCE).collect().await;
        println!("{count} streams opened in {:?}", started.elapsed());
        let version = watching.iter().map(|(version, _)| *version).max().expect("there are some");
        let cost = resident(pid).saturating_sub(before);
        println!("{} bytes of memory each", cost * 1024 / count as u64);
        let changed = Instant::now();
        let told = async {
            let waiting = watching.into_iter().map(|(_, updates)| told(updates, version));
            let told: Vec<_> = stream::iter(waiting).buffer_unordered(count).collect().await;
            (told.len(), changed.elapsed())
        };
        let apply = async {
            world.server().apply().await;
            changed.elapsed()
        };
        let ((reached, last), applied) = tokio::join!(told, apply);
        println!("all of {reached} were told {last:?} after the command was begun, which took {applied:?} itself");
        assert_eq!(reached, count);
        assert!(cost * 1024 / (count as u64) < 64 * 1024, "{cost} KiB for {count}");
    });
}
