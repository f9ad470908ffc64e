//! Calls that the broker has not answered, and the streams that wait for each answer.
//!
//! Whoever asks what is being asked already waits with the others. A call ends with the stream that made it; who still
//! waits then is an orphan, and asked for again.

use std::collections::HashMap;
use std::hash::Hash;

use crate::callers::TokenHash;
use crate::credentials::CredentialKey;

/// What callers share an answer by: the credential, and the token it was asked for with.
pub type Question = (CredentialKey, TokenHash);

/// A key of an issuer: exact `iss`, and `kid`.
pub type KeyName = (String, String);

/// A call under way. `owner` is the stream or root context it ends with.
pub enum Call {
    /// For a credential.
    Acquire {
        /// Who waits for the answer is known by it.
        question: Question,
        /// Made it.
        owner: u32,
    },
    /// For a key.
    Key {
        /// Who waits for the answer is known by it.
        key: KeyName,
        /// Made it.
        owner: u32,
    },
    /// A batch of reports.
    Record,
    /// About a credential that the upstream of this stream refused.
    Reject {
        /// Made it, and alone waits for the answer.
        stream: u32,
    },
}

/// The calls of one worker, by token, and who waits for them.
#[derive(Default)]
pub struct Pending {
    calls: HashMap<u32, Call>,
    /// For credentials.
    pub questions: Waiting<Question>,
    /// For keys.
    pub keys: Waiting<KeyName>,
}

impl Pending {
    /// A call is under way.
    pub fn sent(&mut self, token: u32, call: Call) {
        self.calls.insert(token, call);
    }

    /// A call has been answered, or given up; `None` if its stream has gone.
    pub fn ended(&mut self, token: u32) -> Option<Call> {
        self.calls.remove(&token)
    }

    /// Whether a batch of reports is under way.
    pub fn is_recording(&self) -> bool {
        self.calls.values().any(|call| matches!(call, Call::Record))
    }

    /// A stream has ended, and its calls with it.
    pub fn gone(&mut self, stream: u32) {
        let Self { calls, questions, keys } = self;
        calls.retain(|_, call| match call {
            Call::Acquire { question, owner } if *owner == stream => {
                questions.orphan(question);
                false
            }
            Call::Key { key, owner } if *owner == stream => {
                keys.orphan(key);
                false
            }
            Call::Reject { stream: owner } => *owner != stream,
            Call::Acquire { .. } | Call::Key { .. } | Call::Record => true,
        });
    }
}

/// Who waits for what.
pub struct Waiting<K>(HashMap<K, Waiters>);

#[derive(Default)]
struct Waiters {
    streams: Vec<u32>,
    /// A call is under way.
    asked: bool,
}

impl<K> Default for Waiting<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Waiting<K> {
    /// Has streams wait too; answers whether it is theirs to ask, because nobody has.
    #[must_use = "who is to ask and does not leaves everybody waiting"]
    pub fn join(&mut self, what: &K, streams: &[u32]) -> bool {
        let waiters = self.0.entry(what.clone()).or_default();
        waiters.streams.extend(streams);
        !std::mem::replace(&mut waiters.asked, true)
    }

    /// The call could not be made: these streams wait no more, and who joined them is an orphan.
    pub fn leave(&mut self, what: &K, streams: &[u32]) {
        let Some(waiters) = self.0.get_mut(what) else { return };
        waiters.streams.retain(|stream| !streams.contains(stream));
        if waiters.streams.is_empty() {
            self.0.remove(what);
        } else {
            waiters.asked = false;
        }
    }

    /// The answer has come: who waited for it.
    pub fn answered(&mut self, what: &K) -> Vec<u32> {
        self.0.remove(what).map(|waiters| waiters.streams).unwrap_or_default()
    }

    /// What nobody asks any more, with those who wait for it.
    pub fn take_orphans(&mut self) -> Vec<(K, Vec<u32>)> {
        self.0.extract_if(|_, waiters| !waiters.asked).map(|(what, waiters)| (what, waiters.streams)).collect()
    }

    fn orphan(&mut self, what: &K) {
        if let Some(waiters) = self.0.get_mut(what) {
            waiters.asked = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kid: &str) -> KeyName {
        ("https://idp.example".into(), kid.into())
    }

    /// Streams 1 and 2 wait for a key that stream 1 asked for.
    fn two_wait() -> Pending {
        let mut pending = Pending::default();
        assert!(pending.keys.join(&key("a"), &[1]));
        pending.sent(10, Call::Key { key: key("a"), owner: 1 });
        assert!(!pending.keys.join(&key("a"), &[2]));
        pending
    }

    #[test]
    fn one_asks_and_all_are_answered() {
        let mut pending = two_wait();
        assert!(pending.keys.take_orphans().is_empty());
        assert!(matches!(pending.ended(10), Some(Call::Key { owner: 1, .. })));
        assert_eq!(pending.keys.answered(&key("a")), [1, 2]);
        assert!(pending.keys.answered(&key("a")).is_empty(), "once");
        assert!(pending.ended(10).is_none(), "once");
    }

    #[test]
    fn what_differs_is_asked_apart() {
        let mut pending = two_wait();
        assert!(pending.keys.join(&key("b"), &[3]));
        assert_eq!(pending.keys.answered(&key("a")), [1, 2]);
    }

    #[test]
    fn a_call_ends_with_its_stream_and_who_waits_is_asked_for_again() {
        let mut pending = two_wait();
        pending.gone(2);
        assert!(pending.keys.take_orphans().is_empty(), "only its asker's end ends a call");
        pending.gone(1);
        assert!(pending.ended(10).is_none());
        assert_eq!(pending.keys.take_orphans(), [(key("a"), vec![1, 2])]);
        assert!(pending.keys.take_orphans().is_empty());
    }

    #[test]
    fn who_comes_after_the_asker_has_gone_asks_for_all() {
        let mut pending = two_wait();
        pending.gone(1);
        assert!(pending.keys.join(&key("a"), &[3]));
        assert_eq!(pending.keys.answered(&key("a")), [1, 2, 3]);
    }

    #[test]
    fn a_call_that_cannot_be_made_leaves_the_others_waiting() {
        let mut pending = two_wait();
        pending.gone(1);
        assert!(pending.keys.join(&key("a"), &[3]));
        pending.keys.leave(&key("a"), &[3]);
        assert_eq!(pending.keys.take_orphans(), [(key("a"), vec![1, 2])]);
        assert!(pending.keys.join(&key("a"), &[4]));
        pending.keys.leave(&key("a"), &[4]);
        assert!(pending.keys.take_orphans().is_empty());
    }

    #[test]
    fn reports_are_nobody_s_and_a_refused_credential_is_one_stream_s() {
        let mut pending = Pending::default();
        pending.sent(10, Call::Record);
        pending.sent(11, Call::Reject { stream: 1 });
        pending.gone(1);
        assert!(pending.is_recording() && pending.ended(11).is_none());
        assert!(matches!(pending.ended(10), Some(Call::Record)) && !pending.is_recording());
    }
}
