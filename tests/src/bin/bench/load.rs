//! The load: keep-alive connections, each with one request under way, every answer checked to its last byte.
//!
//! A thread for each connection, so that the generator is a write and a read and little else, also in a debug build.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Connections of one round.
pub(crate) const CONNECTIONS: usize = 20;
/// What is not answered by then never is.
const PATIENCE: Duration = Duration::from_secs(15);

/// Requests to be sent in turn, and what each must be answered with.
pub(crate) struct Script {
    requests: Vec<Vec<u8>>,
    next: AtomicUsize,
    answer: &'static [u8],
}

impl Script {
    /// `answer` is the body that every response must end in.
    pub(crate) fn new(requests: Vec<Vec<u8>>, answer: &'static [u8]) -> Self {
        Self { requests, next: AtomicUsize::new(0), answer }
    }

    fn next(&self) -> &[u8] {
        &self.requests[self.next.fetch_add(1, Ordering::Relaxed) % self.requests.len()]
    }
}

/// Connections that have been used once, so that no round pays for opening them.
pub(crate) struct Connections(Vec<Connection>);

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connections {
    /// Opens them.
    ///
    /// # Errors
    /// When one is refused, or answered otherwise than it should be.
    pub(crate) fn open(to: SocketAddr, script: &Script) -> Result<Self> {
        let open = || {
            let stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut connection = Connection { stream, buffer: vec![0; 64 * 1024] };
            connection.call(script)?;
            Ok(connection)
        };
        (0..CONNECTIONS).map(|_| open()).collect::<Result<_>>().map(Self)
    }

    /// Sends `requests` as fast as they are answered; how long that took.
    ///
    /// # Errors
    /// When one is answered otherwise than it should be.
    pub(crate) fn saturate(&mut self, script: &Script, requests: usize) -> Result<Duration> {
        let sent = AtomicUsize::new(0);
        let started = Instant::now();
        self.each(|_, connection| {
            while sent.fetch_add(1, Ordering::Relaxed) < requests {
                connection.call(script)?;
            }
            Ok(())
        })?;
        Ok(started.elapsed())
    }

    /// Sends `requests` at a fixed rate, whatever the answers do; how long each was waited for, shortest first.
    ///
    /// A request that must wait for the one before it counts from when it should have been sent.
    ///
    /// # Errors
    /// When one is answered otherwise than it should be.
    pub(crate) fn paced(&mut self, script: &Script, requests: usize, per_second: f64) -> Result<Vec<Duration>> {
        let started = Instant::now();
        let waits = self.each(|index, connection| {
            let mut waits = Vec::with_capacity(requests / CONNECTIONS + 1);
            for request in (index..requests).step_by(CONNECTIONS) {
                let due = started + Duration::from_secs_f64(request as f64 / per_second);
                let from = match due.checked_duration_since(Instant::now()) {
                    // The generator's own late wake-up is nobody's latency.
                    Some(early) => {
                        thread::sleep(early);
                        Instant::now()
                    }
                    None => due,
                };
                connection.call(script)?;
                waits.push(from.elapsed());
            }
            Ok(waits)
        })?;
        let mut waits = waits.concat();
        waits.sort_unstable();
        Ok(waits)
    }

    fn each<T: Send>(&mut self, work: impl Fn(usize, &mut Connection) -> Result<T> + Sync) -> Result<Vec<T>> {
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = self
                .0
                .iter_mut()
                .enumerate()
                .map(|(index, connection)| scope.spawn(move || work(index, connection)))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("the load does not panic")).collect()
        })
    }
}

impl Connection {
    fn call(&mut self, script: &Script) -> Result<()> {
        self.stream.write_all(script.next())?;
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[length..]).context("no answer")?;
            length += read;
            let answer = &self.buffer[..length];
            let good = answer.starts_with(b"HTTP/1.1 200 ");
            if good && answer.ends_with(script.answer) {
                return Ok(());
            }
            if read == 0 || length == self.buffer.len() || (length > 12 && !good) {
                bail!("an answer is not the expected one: {:?}", String::from_utf8_lossy(answer));
            }
        }
    }
}
