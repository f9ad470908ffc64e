//! Requests that were let go, until the last byte of their answers: they end when their callers would not be let in again.

use std::rc::Rc;

use sallyport_caller::Allowed;

use super::judge::report_refusal;
use super::{Env, Flow, Forwarded, Message, Opened, Step, unavailable};
use crate::reject::Rejection;
use crate::snapshot::Snapshot;

/// How long an answer may go on once its caller's token has expired.
const BEYOND_EXPIRY_MS: u64 = 15 * 60 * 1_000;

/// An answer on its way to the client.
pub struct Streaming {
    opened: Rc<Opened>,
    allowed: Allowed,
    message: Message,
}

impl Flow {
    /// Whether a request that was let go must be looked at again, by [`Flow::on_tick`]: its time is over, or what it was
    /// let go by is not in force any more. `None` is in force when the broker was silent for too long.
    pub fn is_outdated(&self, now_ms: u64, in_force: Option<&Rc<Snapshot>>) -> bool {
        let (opened, allowed) = match self {
            Self::AwaitUpstream(forwarded) => (&forwarded.opened, &forwarded.allowed),
            Self::Streaming(streaming) => (&streaming.opened, &streaming.allowed),
            _ => return false,
        };
        now_ms >= ends_at_ms(allowed) || in_force.is_none_or(|snapshot| !Rc::ptr_eq(snapshot, &opened.snapshot))
    }
}

impl Forwarded {
    /// The answer may pass: all that is kept is what tells how long it may.
    pub(super) fn streams(self) -> Flow {
        let Self { opened, allowed, message, .. } = self;
        Flow::Streaming(Box::new(Streaming { opened, allowed, message }))
    }

    /// Nothing of the answer has come: a refusal takes its place.
    pub(super) fn on_tick(mut self: Box<Self>, env: &mut Env<'_>) -> (Flow, Step) {
        match may_go_on(&mut self.opened, &self.allowed, env) {
            Ok(()) => (Flow::AwaitUpstream(self), Step::Wait),
            Err(rejection) => self.replace(&rejection, env),
        }
    }
}

impl Streaming {
    /// An answer that has begun can only be cut off.
    pub(super) fn on_tick(mut self: Box<Self>, env: &mut Env<'_>) -> (Flow, Step) {
        let Err(rejection) = may_go_on(&mut self.opened, &self.allowed, env) else {
            return (Flow::Streaming(self), Step::Wait);
        };
        report_refusal(&rejection, self.allowed.issuer(), self.allowed.subject(), &self.message, &self.opened, env);
        (Flow::Done, Step::Close(rejection.code()))
    }
}

fn ends_at_ms(allowed: &Allowed) -> u64 {
    allowed.expires_at_ms().saturating_add(BEYOND_EXPIRY_MS)
}

/// Whether the caller would be let in by the snapshot in force, had its token not expired since (I11). The request moves on
/// to that snapshot, so that it holds no older one in memory.
fn may_go_on(opened: &mut Rc<Opened>, allowed: &Allowed, env: &mut Env<'_>) -> Result<(), Rejection> {
    if env.now_ms() >= ends_at_ms(allowed) {
        return Err(Rejection::TokenRefused { why: "expired" });
    }
    // Nothing else holds it once the request has left; what cannot be judged does not go on (I8).
    let opened = Rc::get_mut(opened).ok_or_else(unavailable)?;
    if !opened.renew(env)? {
        return Ok(());
    }
    let as_of_ms = env.now_ms().min(allowed.expires_at_ms());
    let caller = opened.verified_again(as_of_ms, env)?;
    opened.allow(&caller, as_of_ms).map(|_| ())
}
