//! Ways to fail, at a chosen instant of a request.

use std::{collections::VecDeque, fmt, io, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{Answer, child, listener::Sent};

/// Where in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has arrived, and nothing has come of it.
    BeforeProcess,
    /// The provider has made up its books: tokens are issued, old ones dead. Nobody has been told.
    AfterProcessBeforeReply,
    /// The reply is in the kernel's hands; only a signal makes a difference here.
    AfterReply,
}

/// What goes wrong.
#[derive(Clone)]
pub enum Fault {
    /// It takes this long.
    Delay(Moment, Duration),
    /// It never goes on.
    Hang(Moment),
    /// The connection is cut without an answer.
    Cut(Moment),
    /// An answer in place of the provider's, which processes nothing.
    Instead(Answer),
    /// An answer made of the provider's own JSON, after it has processed.
    Shape(Arc<dyn Fn(&Value) -> Answer + Send + Sync>),
    /// A child process of the test gets a signal; to a killed one nothing more is done or said.
    Signal(Moment, u32, i32),
}

impl Fault {
    /// An error status with a body that is not OAuth's.
    pub fn status(status: u16) -> Self {
        Self::Instead(Answer::status(status).header("content-type", "application/json").body("<h1>Oops</h1>"))
    }

    /// An error status with `Retry-After` in seconds.
    pub fn busy(status: u16, retry_after: u64) -> Self {
        Self::Instead(Answer::status(status).header("retry-after", &retry_after.to_string()))
    }

    /// An OAuth error with this code.
    pub fn refusal(status: u16, error: &str) -> Self {
        let body = serde_json::json!({"error": error, "error_description": "no"}).to_string();
        Self::Instead(Answer::status(status).header("content-type", "application/json").body(body))
    }

    /// An answer made of the provider's own JSON.
    pub fn shape(shape: impl Fn(&Value) -> Answer + Send + Sync + 'static) -> Self {
        Self::Shape(Arc::new(shape))
    }

    /// SIGKILL to this process.
    pub fn kill(moment: Moment, pid: u32) -> Self {
        Self::Signal(moment, pid, libc::SIGKILL)
    }

    /// Does what is to be done at this moment before the reply; an error cuts the connection.
    pub(super) async fn strike(&self, now: Moment) -> io::Result<()> {
        match self {
            Self::Delay(moment, time) if *moment == now => tokio::time::sleep(*time).await,
            Self::Hang(moment) if *moment == now => std::future::pending().await,
            Self::Cut(moment) if *moment == now => return Err(io::ErrorKind::ConnectionReset.into()),
            Self::Signal(moment, pid, signal) if *moment == now => {
                child::signal(*pid, *signal);
                if *signal == libc::SIGKILL {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
            Self::Delay(..) | Self::Hang(_) | Self::Cut(_) | Self::Signal(..) | Self::Instead(_) | Self::Shape(_) => {}
        }
        Ok(())
    }

    pub(super) fn instead(&self) -> Option<Answer> {
        match self {
            Self::Instead(answer) => Some(answer.clone()),
            Self::Delay(..) | Self::Hang(_) | Self::Cut(_) | Self::Signal(..) | Self::Shape(_) => None,
        }
    }

    /// The reply that goes out, given the provider's own; arms what follows it.
    pub(super) fn reply(&self, own: Answer, sent: &Sent) -> Answer {
        match self {
            Self::Shape(shape) => shape(&own.body_json()),
            Self::Signal(Moment::AfterReply, pid, signal) => {
                let (pid, signal) = (*pid, *signal);
                sent.then(move || child::signal(pid, signal));
                own
            }
            Self::Delay(..) | Self::Hang(_) | Self::Cut(_) | Self::Signal(..) | Self::Instead(_) => own,
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay(moment, time) => write!(formatter, "Delay({moment:?}, {time:?})"),
            Self::Hang(moment) => write!(formatter, "Hang({moment:?})"),
            Self::Cut(moment) => write!(formatter, "Cut({moment:?})"),
            Self::Instead(answer) => write!(formatter, "Instead({answer:?})"),
            Self::Shape(_) => write!(formatter, "Shape"),
            Self::Signal(moment, pid, signal) => write!(formatter, "Signal({moment:?}, {pid}, {signal})"),
        }
    }
}

/// The faults that one endpoint has in store.
#[derive(Default)]
pub(super) struct Faults {
    next: VecDeque<Fault>,
    after: Option<Fault>,
}

impl Faults {
    pub(super) fn next(&mut self, count: usize, fault: &Fault) {
        self.next.extend(std::iter::repeat_n(fault.clone(), count));
    }

    pub(super) fn always(&mut self, fault: Fault) {
        *self = Self { next: VecDeque::new(), after: Some(fault) };
    }

    /// The fault of the request that has just arrived.
    pub(super) fn take(&mut self) -> Option<Fault> {
        self.next.pop_front().or_else(|| self.after.clone())
    }
}
