//! How large the gate under test is: the same tests, on one machine or as a fleet is run.

use std::sync::LazyLock;

use tokio::sync::OnceCell;

use crate::{Kms, dir::Dir, world::Change};

/// What brokers under test keep things in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// SQLite and a key file.
    Embedded,
    /// Postgres, Redis and AWS KMS.
    Fleet,
}

/// How tests are named that are about one machine.
pub(crate) const EMBEDDED: &str = "embedded_";

/// Fails unless a test that brings a size of its own, or a part of one, says so in its name.
pub(crate) fn is_said_by_the_test(word: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    // Benchmarks are no tests, and one test at a time has no thread of its own.
    let is_said = test == "main" || test.contains(EMBEDDED) || test.contains(word);
    assert!(is_said, "`{test}` brings what `{word}` stands for: name it so");
}

static KMS: LazyLock<OnceCell<(Dir, Kms)>> = LazyLock::new(OnceCell::new);

impl Size {
    /// The one that `SALLYPORT_SIZE` names; embedded, if it names none.
    ///
    /// # Panics
    /// When it names one that there is not.
    pub(crate) fn of_environment() -> Self {
        match std::env::var("SALLYPORT_SIZE").as_deref() {
            Err(_) | Ok("embedded") => Self::Embedded,
            Ok("fleet") => Self::Fleet,
            Ok(other) => panic!("SALLYPORT_SIZE={other}: use `embedded` or `fleet`"),
        }
    }

    /// What to change in a broker's configuration so that its master key is where this size has it.
    pub(crate) async fn master_key(self) -> Option<Change> {
        match self {
            Self::Embedded => None,
            Self::Fleet => {
                let started = async || {
                    let dir = Dir::new();
                    let kms = Kms::start(dir.path()).await;
                    (dir, kms)
                };
                Some(KMS.get_or_init(started).await.1.is_the_key())
            }
        }
    }
}
