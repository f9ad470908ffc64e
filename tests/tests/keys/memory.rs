//! What of secrets stays in a broker's memory, and what of that memory can leave it (V8).

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::Duration;

use e2e::{Auth, Browser, Provider, World, acquire, broker_api, eventually_within, run};
use sallyport_proto::broker::AcquireCredentialRequest;
use sallyport_proto::broker::acquire_credential_response::Answer;

/// How the text ends before a token in an answer to a proxy, which holds the header to set: all of it, or what is left of it
/// where the allocator has written to memory that it was given back.
const TOLD: &[u8] = b"r ";

/// The same in the answer of a token endpoint, which the HTTP client reads into a buffer of its connection.
const GIVEN: &[u8] = b"\":\"";

/// Until a broker that is hardly let run has looked twice for what is too old.
const LET_GO: Duration = Duration::from_secs(60);

/// Where this is in there. By the C library, which takes a moment for a hundred megabytes, where ours would take minutes.
fn places(memory: &[u8], needle: &[u8]) -> Vec<usize> {
    let (mut places, mut from) = (Vec::new(), 0);
    loop {
        let haystack = &memory[from..];
        #[expect(unsafe_code, reason = "the standard library has no search for bytes")]
        // SAFETY: both are live slices, and their lengths are their own.
        let found =
            unsafe { libc::memmem(haystack.as_ptr().cast(), haystack.len(), needle.as_ptr().cast(), needle.len()) };
        if found.is_null() {
            return places;
        }
        let place = found as usize - memory.as_ptr() as usize;
        places.push(place);
        from = place + 1;
    }
}

/// What stands before each copy of one of these in the memory of a process that this one may read: root may, whatever the
/// process forbids.
fn copies(pid: u32, secrets: &[String]) -> Vec<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
        let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // Some of it is nobody's to read.
        if memory.seek(SeekFrom::Start(start)).is_err() || memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        for place in secrets.iter().flat_map(|secret| places(&bytes, secret.as_bytes())) {
            found.push(bytes[place.saturating_sub(8)..place].to_vec());
        }
    }
    found
}

/// Asks for each of these credentials in turn, so often; none is refused.
async fn read(world: &World, requests: &[AcquireCredentialRequest], times: usize) {
    let mut api = broker_api(&world.broker.grpc).await.unwrap();
    for n in 0..times {
        let answer = api.acquire_credential(requests[n % requests.len()].clone()).await.unwrap().into_inner().answer;
        assert!(matches!(answer, Some(Answer::Credential(_))), "{answer:?}");
    }
}

#[test]
#[ignore = "needs root, to read another process's memory"]
fn embedded_v8_after_ten_thousand_reads_and_the_age_of_the_cache_nothing_is_in_memory_but_the_last_few_answers() {
    const SECRETS: usize = 20;
    const READS: usize = 10_000;
    run(async {
        let mut world = World::build().embedded().start().await;
        let mark = e2e::unique("canary-of-memory");
        let secrets: Vec<_> = (0..SECRETS).map(|n| format!("{mark}-{n:04}")).collect();
        let mut servers = Vec::new();
        for secret in &secrets {
            servers.push((
                world.server().auth(Auth::Header { secret: secret.clone() }).register().await,
                "alice".to_owned(),
            ));
        }
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        let people: Vec<_> = (0..5).map(|_| e2e::unique("person")).collect();
        for person in &people {
            assert!(world.consent(&Browser::of(person), &server).await.text.contains(" is connected."));
        }
        world.broker.stop().await;
        world.broker.start_forgetting(Duration::from_secs(2)).await;
        let mut requests = Vec::new();
        for (server, person) in &servers {
            requests.push(acquire(&world.broker.grpc, &world.issuer.token(person, server).mint(), server).await);
        }
        for person in &people {
            requests.push(acquire(&world.broker.grpc, &world.issuer.token(person, &server).mint(), &server).await);
        }
        read(&world, &requests, READS / 2).await;
        // Each token has a successor from here on: the first is over, and so is what it was asked for with.
        let grants = world.broker.command(&["grants", "list", "--json"]).await.ok();
        let grants: Vec<serde_json::Value> = serde_json::from_str(&grants).unwrap();
        for grant in &grants {
            world.broker.command(&["grants", "refresh", grant["id"].as_str().unwrap(), "--force"]).await.ok();
        }
        read(&world, &requests, READS / 2).await;
        let families: Vec<_> = people.iter().map(|person| provider.family_of(person).unwrap()).collect();
        let replaced: Vec<_> =
            families.iter().flat_map(|family| [&family.access_tokens[0], &family.refresh_tokens[0]]).cloned().collect();
        let current = families.iter().flat_map(|family| [&family.access_tokens[1], &family.refresh_tokens[1]]).cloned();
        let current: Vec<_> = current.chain(secrets.iter().cloned()).collect();
        let pid = world.broker.child().pid();
        let during = copies(pid, &current).len();
        // Whatever the broker itself had of them is overwritten. What the protocols' own buffers had of an answer is found until
        // their memory is used again: of the last few, and of none that was given before.
        eventually_within(LET_GO, "what was open is let go of", async || {
            let (over, left) = (copies(pid, &replaced), copies(pid, &current));
            let shown: Vec<_> = left.iter().map(|before| before.escape_ascii().to_string()).collect();
            println!("{} of {during} copies of {} secrets are left, behind {shown:?}", left.len(), current.len());
            let is_of_an_answer = |before: &Vec<u8>| before.ends_with(TOLD) || before.ends_with(GIVEN);
            (over.is_empty() && left.iter().all(is_of_an_answer) && left.len() <= 2 * people.len()).then_some(())
        })
        .await;
    });
}

/// What the system says of a process, in kilobytes.
fn status(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn embedded_v8_master_keys_are_locked_in_memory_or_the_log_says_that_the_system_does_not_allow_it() {
    run(async {
        let world = World::build().embedded().start().await;
        let locked = status(world.broker.child().pid(), "VmLck:");
        let is_told = world.broker.log().contains("master keys may be swapped to disk");
        println!("{locked} KB locked");
        assert!((locked > 0) != is_told, "{locked} KB locked, told: {is_told}");
    });
}

#[test]
fn embedded_v8_a_broker_that_is_aborted_leaves_no_core_whatever_its_limits_were() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[expect(unsafe_code, reason = "the standard library has no call for resource limits")]
    // SAFETY: `limit` outlives both calls, of which one writes it and the other reads it.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) == 0
        }
    };
    assert!(raised && limit.rlim_max > 0, "nothing here may leave a core, so that nothing is shown");
    run(async {
        let mut world = World::build().embedded().start().await;
        let pid = world.broker.child().pid();
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
        let ended = world.broker.aborted().await;
        assert_eq!((ended.signal(), ended.core_dumped()), (Some(libc::SIGABRT), false));
        let left = std::fs::read_dir(world.dir()).unwrap().flatten().map(|entry| entry.file_name());
        let cores: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("core")).collect();
        assert!(cores.is_empty(), "{cores:?}");
    });
}
