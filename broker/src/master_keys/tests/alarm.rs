//! V5: a local master key that nears its bound says so, to who reads the log, the metrics or `sallyport doctor`.

use std::io;
use std::sync::Mutex;

use metrics_exporter_prometheus::PrometheusBuilder;

use super::super::wraps::STRIDE;
use super::*;
use crate::doctor::{Verdict, keys};
use crate::vault::{Record, RecordKind};

/// What was logged, for one thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines_with(&self, what: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
    }

    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + 'static {
        let log = self.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish()
    }
}

const ROTATE: &str = "run `sallyport key rotate`";

#[test]
fn v5_a_key_that_has_wrapped_almost_two_to_the_31_alarms_and_none_before() {
    let (recorder, log) = (PrometheusBuilder::new().build_recorder(), Log::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _listening = tracing::subscriber::set_default(log.subscriber());
    let id = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let site = Site::with_secrets(0).await;
            let keys = site.open().await.unwrap();
            let (vault, store, mut counted) = (&keys.0.parts.vault, &keys.0.parts.store, HashMap::new());
            let id = vault.key_id();
            let before = WRAPS_ALARM - 1 - STRIDE;
            assert_eq!(store.add_wraps(&id.to_string(), before, site.clock.now()).await.unwrap(), before);
            keys.count_ahead(&mut counted).await.unwrap();
            assert_eq!(keys.list().await.unwrap()[0].wraps, Some(WRAPS_ALARM - 1));
            let findings = keys::findings(vault, &keys).await;
            assert!(findings.iter().all(|finding| finding.verdict() == Verdict::Good), "{findings:?}");
            assert_eq!(log.lines_with("ERROR"), [""; 0]);

            // As many as were counted ahead of; a look at the key, as the doctor took one, is a wrap too.
            for _ in 0..STRIDE / 2 {
                vault.data_key(Record { kind: RecordKind::Secret, id: "any" }).await.unwrap();
            }
            keys.count_ahead(&mut counted).await.unwrap();
            let told = log.lines_with("ERROR");
            assert!(told.len() == 1 && told[0].contains(&id.to_string()) && told[0].contains(ROTATE), "{told:?}");
            let findings = keys::findings(vault, &keys).await;
            let [warning] = findings.iter().filter(|f| f.verdict() != Verdict::Good).collect::<Vec<_>>()[..] else {
                panic!("{findings:?}");
            };
            assert_eq!((warning.verdict(), &warning.check), (Verdict::Warning, &format!("master key {id}")));
            assert!(warning.told.contains("2^31") && warning.remedy().unwrap().contains(ROTATE), "{warning:?}");
            id
        })
    });
    let gauge = format!("sallyport_master_key_wraps{{key=\"{id}\"}} ");
    let rendered = recorder.handle().render();
    let counted = rendered.lines().find_map(|line| line.strip_prefix(&gauge)).unwrap_or_else(|| panic!("{rendered}"));
    assert!(counted.parse::<f64>().unwrap() >= WRAPS_ALARM as f64, "{counted}");
}

#[tokio::test]
async fn a_key_that_is_needed_and_not_held_is_found_with_its_id() {
    let site = Site::with_secrets(3).await;
    site.tamper(|sealed| sealed[crate::vault::HEADER - 1] ^= 1).await;
    let keys = site.open().await.unwrap();
    let missing = keys.list().await.unwrap().into_iter().find(|key| key.held.is_none()).unwrap().id;
    let findings = keys::findings(&keys.0.parts.vault, &keys).await;
    let bad: Vec<_> = findings.iter().filter(|finding| finding.verdict() == Verdict::Bad).collect();
    let [bad] = bad[..] else { panic!("{findings:?}") };
    assert_eq!(bad.check, format!("master key {missing}"));
    assert!(bad.told.contains("1 stored secrets need it") && bad.remedy().unwrap().contains("vault.keys"), "{bad:?}");
}
