//! The real filter traps (H2): its request is refused at once, its worker is back in two seconds, others notice nothing.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use e2e::{Auth, Connection, Piece, RawConnection, Reply, Server, World, eventually, eventually_within, run, setup};
use futures::{StreamExt, stream::FuturesUnordered};
use serde_json::json;

/// The request header that the module built for these tests obeys.
const TRIGGER: &str = "x-sallyport-failpoint";

/// A caller's connection to one server, held by one of Envoy's workers.
struct Line<'a> {
    connection: Connection,
    server: &'a Server,
    authorization: String,
}

impl<'a> Line<'a> {
    async fn open(world: &World, server: &'a Server) -> Self {
        let connection = Connection::open(world.envoy.gateway, server.host()).await.expect("the gateway listens");
        Self { connection, server, authorization: format!("Bearer {}", world.issuer.token("alice", server).mint()) }
    }

    async fn call(&self, headers: &[(&str, &str)], after_the_body: Option<Piece>) -> Reply {
        let mut all = vec![("content-type", "application/json"), ("authorization", self.authorization.as_str())];
        all.extend(headers);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}).to_string();
        let pieces = [Piece::Data(body.into_bytes())].into_iter().chain(after_the_body).collect();
        self.connection.post(&self.server.path, &all, pieces).await.expect("an answer")
    }

    async fn until_served(&self) {
        eventually("this worker serves", async || (self.call(&[], None).await.status == 200).then_some(())).await;
    }
}

/// Lines to a server, by the worker that holds each: `count` for each of `workers`.
async fn lines<'a>(world: &World, server: &'a Server, workers: u32, count: usize) -> BTreeMap<u32, Vec<Line<'a>>> {
    let mut held: BTreeMap<u32, Vec<Line<'a>>> = (0..workers).map(|worker| (worker, Vec::new())).collect();
    eventually("each worker holds enough connections", async || {
        let mut before = Vec::new();
        for worker in 0..workers {
            before.push(connections(world, worker).await);
        }
        let line = Line::open(world, server).await;
        let worker = eventually("a worker takes the connection", async || {
            for worker in 0..workers {
                if connections(world, worker).await > before[worker as usize] {
                    return Some(worker);
                }
            }
            None
        })
        .await;
        line.until_served().await;
        held.entry(worker).or_default().push(line);
        held.values().all(|lines| lines.len() >= count).then_some(())
    })
    .await;
    held
}

/// Connections to the gateway that this worker has ever taken.
async fn connections(world: &World, worker: u32) -> u64 {
    let port = world.envoy.gateway.port();
    world.envoy.stat(&format!("127.0.0.1_{port}.worker_{worker}.downstream_cx_total")).await
}

#[test]
fn h2_a_trap_is_503_at_once_over_in_two_seconds_and_nothing_to_other_workers() {
    run(async {
        let world = gate_that_traps_on_request().await;
        let (deadly, other) = (world.open_server().await, world.open_server().await);
        let first = lines(&world, &deadly, 2, 1).await;
        let calm = lines(&world, &other, 2, 2).await;
        let served = AtomicUsize::new(0);
        for place in ["headers", "body", "trailers"] {
            for (worker, trapped) in &first {
                deadly.upstream.forget();
                let over = AtomicBool::new(false);
                let others = calm.iter().filter(|(held_by, _)| *held_by != worker).flat_map(|(_, lines)| lines);
                let others = futures::future::join_all(others.map(async |line| {
                    while !over.load(Ordering::Relaxed) {
                        let reply = line.call(&[], None).await;
                        assert_eq!(reply.status, 200, "a worker that did not trap: {reply}");
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }));
                let trap = async {
                    trap_and_recover(&trapped[0], place).await;
                    over.store(true, Ordering::Relaxed);
                };
                futures::join!(trap, others);
            }
        }
        assert!(served.into_inner() > 30, "the other workers were hardly asked");
    });
}

async fn trap_and_recover(line: &Line<'_>, place: &str) {
    let start = Instant::now();
    let reply = line.call(&[(TRIGGER, place)], Some(Piece::trailer("x-checksum", "1"))).await;
    assert_eq!(reply.status, 503, "{place}: {reply}");
    assert!(start.elapsed() < Duration::from_secs(1), "{place}: after {:?}", start.elapsed());
    line.server.upstream.assert_untouched("a filter that trapped");
    let left = Duration::from_secs(2).saturating_sub(start.elapsed());
    eventually_within(left, "the trapped worker serves again", async || {
        (line.call(&[], None).await.status == 200).then_some(())
    })
    .await;
}

#[test]
fn h2_a_request_whose_body_is_still_coming_when_its_worker_traps_is_refused_too() {
    run(async {
        let world = gate_that_traps_on_request().await;
        let (deadly, waiting) = (world.open_server().await, world.open_server().await);
        let held = lines(&world, &deadly, 2, 1).await;
        let token = world.issuer.token("alice", &waiting).mint();
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: 40\r\n\r\n{{\"jsonrpc\":\"2.0\",",
            waiting.path,
            waiting.host()
        );
        let mut halves = Vec::new();
        for _ in 0..8 {
            let mut half = RawConnection::open(world.envoy.gateway).await;
            assert!(half.send(request.as_bytes()).await);
            halves.push(half);
        }
        eventually("all of them wait", async || (world.envoy.stat("downstream_rq_active").await >= 8).then_some(()))
            .await;
        for lines in held.values() {
            assert_eq!(lines[0].call(&[(TRIGGER, "headers")], None).await.status, 503);
        }
        for mut half in halves {
            half.send(br#""id":1,"method":"ping"}"#).await;
            let reply = half.finish().await;
            assert_eq!(reply.status, Some(503), "{reply:?}");
        }
        waiting.upstream.assert_untouched("a request of a worker that trapped");
    });
}

#[test]
fn h2_a_request_that_waits_for_the_broker_when_its_worker_traps_is_never_forwarded() {
    run(async {
        let world = gate_that_traps_on_request().await;
        let deadly = world.open_server().await;
        let waiting = world.server().auth(Auth::header()).register().await;
        let held = lines(&world, &deadly, 2, 1).await;
        let call = waiting.call_as(&world.issuer.token("alice", &waiting).mint());
        world.broker.child().freeze();
        // Nothing answers these before the route's idle time-out: Envoy does not tell the streams of a module that trapped.
        let mut calls: FuturesUnordered<_> = (0..8).map(|_| call.send()).collect();
        let answers = async {
            while let Some(reply) = calls.next().await {
                assert_eq!(reply.status, 503, "answered after its module trapped: {reply}");
            }
            std::future::pending().await
        };
        let traps = async {
            eventually("all of them wait", async || {
                (world.envoy.stat("http.gateway.downstream_rq_active").await >= 8).then_some(())
            })
            .await;
            for lines in held.values() {
                assert_eq!(lines[0].call(&[(TRIGGER, "headers")], None).await.status, 503);
            }
            world.broker.child().thaw();
            for lines in held.values() {
                lines[0].until_served().await;
            }
            // By then the broker has answered what it was asked before.
            assert_eq!(call.clone().tool("later").send().await.status, 200);
        };
        tokio::select! {
            () = answers => {}
            () = traps => {}
        }
        let forwarded: Vec<_> =
            waiting.upstream.requests().iter().map(|request| request.json()["params"]["name"].clone()).collect();
        assert_eq!(forwarded, ["later"], "a request of a worker that trapped");
    });
}

#[test]
fn h2_the_module_that_ships_knows_no_way_to_trap_on_request() {
    let has_trigger = |module: &std::path::Path| {
        let bytes = std::fs::read(module).unwrap_or_else(|error| panic!("{}: {error}", module.display()));
        bytes.windows(TRIGGER.len()).any(|window| window == TRIGGER.as_bytes())
    };
    assert!(has_trigger(&setup().wasm_failpoints), "the text is found where it is");
    assert!(!has_trigger(&setup().wasm));
}

async fn gate_that_traps_on_request() -> World {
    World::build().concurrency(2).envoy(|config| e2e::set_module(config, &setup().wasm_failpoints)).start().await
}
