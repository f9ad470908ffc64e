//! Each part fails in turn: what still works goes on, the rest is refused in time, nothing passes unjudged (design: when
//! things fail; threats H2, H6, A1).

use std::time::{Duration, Instant};

use e2e::{Call, Reply};
use serde_json::json;

#[path = "outages/broker.rs"]
mod broker;
#[path = "outages/filter.rs"]
mod filter;
#[path = "outages/others.rs"]
mod others;
#[path = "outages/trap.rs"]
mod trap;

/// The filter's deadline and half a second.
const IN_TIME: Duration = Duration::from_millis(3_500);

/// The call is refused because the gate cannot know, in time, with the request's id.
async fn unavailable(what: &str, call: &Call) -> Reply {
    let start = Instant::now();
    let reply = call.send().await;
    assert!(start.elapsed() < IN_TIME, "{what}: answered after {:?}", start.elapsed());
    let error = reply.rpc_error();
    assert_eq!((reply.status, error.code, &error.id), (200, -31004, &json!(1)), "{what}: {reply}");
    reply
}
