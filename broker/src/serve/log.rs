//! What the broker logs: its own words at the level that is configured, those of libraries never below `info`.
//!
//! There libraries print requests and answers as they are. Those to KMS carry data keys, those to AWS's token service tokens,
//! and whether their bytes are among what is printed is up to each version of the SDK (I9).

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Level, Log, LogFormat};

/// With what the targets of every crate of this workspace begin, and of no other that is linked.
const OURS: &str = "sallyport";

/// Logs to standard error from now on, for the whole process.
pub(super) fn start(log: &Log) {
    // A test may have set one up before; the first one stays.
    let _ = subscriber(log, std::io::stderr).try_init();
}

fn subscriber<W>(log: &Log, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter(log.level)).with_writer(writer);
    match log.format {
        LogFormat::Json => Box::new(builder.json().finish()),
        LogFormat::Text => Box::new(builder.finish()),
    }
}

fn filter(level: Level) -> EnvFilter {
    let others = match level {
        Level::Error | Level::Warn | Level::Info => level,
        Level::Debug | Level::Trace => Level::Info,
    };
    EnvFilter::new(format!("{},{OURS}={}", others.name(), level.name()))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A line of each level, of a crate or module.
    macro_rules! speak {
        ($target:literal) => {
            tracing::error!(target: $target, concat!($target, " error"));
            tracing::warn!(target: $target, concat!($target, " warn"));
            tracing::info!(target: $target, concat!($target, " info"));
            tracing::debug!(target: $target, concat!($target, " debug"));
            tracing::trace!(target: $target, concat!($target, " trace"));
        };
    }

    /// Which levels are written, of us and of libraries.
    fn written(level: Level, format: LogFormat) -> [Vec<&'static str>; 2] {
        let written = Written::default();
        let writer = written.clone();
        tracing::subscriber::with_default(subscriber(&Log { level, format }, move || writer.clone()), || {
            speak!("sallyport_broker::serve");
            speak!("sallyport_caller");
            speak!("sallyport_proto::broker");
            speak!("aws_smithy_runtime::client::orchestrator");
            speak!("aws_sigv4::http_request::sign");
            speak!("h2::codec::framed_write");
            speak!("log");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let of = |targets: &[&str]| {
            let mut levels = Vec::new();
            for level in ["error", "warn", "info", "debug", "trace"] {
                match targets.iter().filter(|target| text.contains(&format!("{target} {level}"))).count() {
                    0 => {}
                    some => {
                        assert_eq!(some, targets.len(), "one of them alone at {level}: {text}");
                        levels.push(level);
                    }
                }
            }
            levels
        };
        let aws = ["aws_smithy_runtime::client::orchestrator", "aws_sigv4::http_request::sign"];
        [
            of(&["sallyport_broker::serve", "sallyport_caller", "sallyport_proto::broker"]),
            of(&[aws[0], aws[1], "h2::codec::framed_write", "log"]),
        ]
    }

    #[test]
    fn i9_libraries_say_nothing_below_info_at_any_level() {
        let levels = ["error", "warn", "info", "debug", "trace"];
        for format in [LogFormat::Json, LogFormat::Text] {
            for (level, ours, others) in [
                (Level::Error, 1, 1),
                (Level::Warn, 2, 2),
                (Level::Info, 3, 3),
                (Level::Debug, 4, 3),
                (Level::Trace, 5, 3),
            ] {
                assert_eq!(written(level, format), [levels[..ours].to_vec(), levels[..others].to_vec()], "{level:?}");
            }
        }
    }
}
