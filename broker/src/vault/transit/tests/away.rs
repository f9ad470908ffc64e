//! What is known of a key service that does not answer as it should.

use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

#[tokio::test]
async fn v4_a_key_that_cannot_be_used_is_told_until_it_can() {
    let (engine, vault, sealed) = sealed().await;
    assert_eq!(vault.away(), []);
    engine.says_first(&[(403, "permission denied"), (403, "permission denied")]);
    for _ in 0..2 {
        assert!(vault.open(&place("g1"), &sealed).await.is_err());
    }
    let [away] = vault.away().try_into().unwrap();
    assert!(away.id == vault.key_id() && away.kept.starts_with("transit key transit/sallyport at "), "{away:?}");
    assert!(away.why.contains("permission denied"), "{away:?}");
    assert!(vault.open(&place("g2"), &sealed).await.is_err(), "what is not its own is an answer too");
    assert_eq!(vault.away(), []);
}

#[tokio::test]
async fn v4_a_key_that_is_away_or_unused_is_tried_and_no_other() {
    let (engine, vault, sealed) = sealed().await;
    vault.try_doubtful(Duration::from_secs(60)).await;
    assert_eq!(engine.count(), 0, "nobody doubts it");
    engine.says_first(&[(403, "permission denied")]);
    vault.try_doubtful(Duration::ZERO).await;
    assert_eq!(vault.away().len(), 1, "found before anybody needs it");
    vault.try_doubtful(Duration::from_secs(60)).await;
    assert_eq!(vault.away(), [], "and found to be back");
    assert!(vault.open(&place("g1"), &sealed).await.is_ok());
}

#[test]
fn v4_each_opening_and_each_use_of_a_key_service_is_counted_by_what_came_of_it() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let (engine, vault, sealed) = sealed().await;
            vault.open(&place("g1"), &sealed).await.unwrap();
            assert!(vault.open(&place("g2"), &sealed).await.is_err());
            vault.rewrap((&place("g1")).into(), "access_token", &sealed).await.unwrap();
            engine.says_first(&[(403, "permission denied")]);
            assert!(vault.open(&place("g1"), &sealed).await.is_err());
        });
    });
    let rendered = recorder.handle().render();
    for line in [
        r#"sallyport_vault_open_seconds_count{outcome="done"} 1"#,
        r#"sallyport_vault_open_seconds_count{outcome="not_authentic"} 1"#,
        r#"sallyport_vault_open_seconds_count{outcome="denied"} 1"#,
        r#"sallyport_key_service_seconds_count{operation="fresh",outcome="done"} 1"#,
        r#"sallyport_key_service_seconds_count{operation="wrap",outcome="done"} 1"#,
        r#"sallyport_key_service_seconds_count{operation="unwrap",outcome="done"} 2"#,
        r#"sallyport_key_service_seconds_count{operation="unwrap",outcome="not_ours"} 1"#,
        r#"sallyport_key_service_seconds_count{operation="unwrap",outcome="denied"} 1"#,
        "sallyport_key_service_up{key=",
    ] {
        assert!(rendered.contains(line), "{line}: {rendered}");
    }
}
