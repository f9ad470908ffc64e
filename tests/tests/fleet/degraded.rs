//! What a broker says, to whoever asks, while a part it needs is away: which, where, and what it still does.

use e2e::{
    Kms, KmsFault, acquire, broker_api, eventually, eventually_within, now_seconds,
    provider::{Endpoint, Fault, Moment},
    run, spawn,
};
use postgres_counterpart::Server as Postgres;
use serde_json::Value;

use super::*;

/// What a broker says of itself, ready or not.
async fn told(broker: &Broker) -> (u16, Value) {
    let answer = reqwest::get(format!("http://{}/readyz", broker.http)).await.expect("it answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// Why it says that this is away; nothing where it says no such thing. `list` is `missing` or `degraded`.
fn why(told: &Value, list: &str, what: &str) -> Option<String> {
    let parts = told[list].as_array().expect("a list");
    parts.iter().find(|part| part["what"] == what).map(|part| part["why"].as_str().expect("words").to_owned())
}

async fn metrics(broker: &Broker) -> String {
    let answer = reqwest::get(format!("http://{}/metrics", broker.http)).await.expect("it answers");
    answer.text().await.expect("text")
}

/// The sum of all series whose lines begin so and hold these labels; nothing where there is none.
fn metric(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let series = metrics.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    series
        .map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number"))
        .reduce(|sum, value| sum + value)
}

/// Waits until one of the brokers has this metric, above nothing.
async fn until_counted(fleet: &Fleet, name: &str, labels: &[&str]) {
    eventually(&format!("{name} {labels:?}"), async || {
        for broker in fleet.world.brokers() {
            if metric(&metrics(broker).await, name, labels).is_some_and(|value| value > 0.0) {
                return Some(());
            }
        }
        None
    })
    .await;
}

#[test]
fn a_broker_whose_postgres_is_gone_says_which_and_where_and_goes_on_with_what_it_says() {
    run(async {
        let postgres: &Postgres = Box::leak(Box::new(Postgres::start()));
        let fleet = Fleet::start(World::build().postgres(postgres)).await;
        let (broker, person) = (&fleet.world.broker, e2e::unique("person"));
        let open = fleet.world.server().apply().await;
        open.until_served().await;
        let caller = fleet.world.issuer.token("cached", &open).mint();
        // At each broker: whichever is asked knows it by then.
        for broker in fleet.world.brokers() {
            eventually("it knows the server", async || knows(broker, &open).await.then_some(())).await;
        }
        assert!(open.call_as(&caller).send().await.json().get("result").is_some());
        fleet.consents(&person).await;
        let request = acquire(&broker.grpc, &fleet.token(&person), &fleet.server).await;
        let late = Fault::Delay(Moment::AfterProcessBeforeReply, Duration::from_secs(2));
        fleet.provider.fail_next(Endpoint::Token, 1, &late);
        let mut api = broker_api(&broker.grpc).await.expect("the same user may connect");
        // Whatever it is told: its pair has nowhere to go.
        spawn(async move { api.acquire_credential(request).await.ok() });
        let issued = || fleet.provider.family_of(&person).expect("they have consented").access_tokens.len();
        eventually("the provider has another pair", async || (issued() == 2).then_some(())).await;
        let before = told(broker).await;
        assert_eq!(
            (before.0, why(&before.1, "missing", "store"), why(&before.1, "degraded", "spool")),
            (200, None, None)
        );

        postgres.kill();
        let (store, spool, snapshot) = eventually("all of it is told", async || {
            let (status, told) = told(broker).await;
            let store = why(&told, "missing", "store")?;
            assert_eq!((status, told["ready"].as_bool()), (503, Some(false)));
            Some((store, why(&told, "degraded", "spool")?, why(&told, "degraded", "snapshot")?))
        })
        .await;
        for says in ["Postgres database test_", " at /", "Proxies go on with what they have cached", "the spool"] {
            assert!(store.contains(says), "{says}: {store}");
        }
        let directory = broker.data.join("spool").display().to_string();
        assert!(spool.starts_with("1 pairs") && spool.contains(&directory), "{spool}");
        assert!(snapshot.contains("serve from what they have"), "{snapshot}");
        assert_eq!(metric(&metrics(broker).await, "sallyport_spool_waiting", &[]), Some(1.0));
        let reply = open.call_as(&caller).send().await;
        assert!(reply.json().get("result").is_some(), "it is served from what is cached: {reply}");

        postgres.revive();
        eventually_within(TAKEN_UP, "all is well again", async || {
            let (status, told) = told(broker).await;
            let is_well = [("missing", "store"), ("degraded", "spool"), ("degraded", "snapshot")];
            (status == 200 && is_well.iter().all(|(list, what)| why(&told, list, what).is_none())).then_some(())
        })
        .await;
        assert_eq!(metric(&metrics(broker).await, "sallyport_spool_waiting", &[]), Some(0.0));
    });
}

#[test]
fn v4_a_broker_whose_key_service_is_away_says_which_and_where_and_serves_what_is_open() {
    run(async {
        let dir = tempfile::tempdir().expect("it is made");
        let kms = Kms::start(dir.path()).await;
        let change = kms.is_the_key();
        let world = World::build().brokers(1).broker(move |config| change(config)).start().await;
        let broker = &world.broker;
        let (opened, sealed) = (
            world.server().auth(Auth::header()).register().await,
            world.server().auth(Auth::header()).register().await,
        );
        let new_caller = async |server: &Server| {
            let token = world.issuer.token(&e2e::unique("caller"), server).mint();
            server.call_as(&token).send().await.json().get("result").is_some()
        };
        assert!(new_caller(&opened).await);
        let gauge = async || metric(&metrics(broker).await, "sallyport_key_service_up", &["key="]);
        assert_eq!((gauge().await, why(&told(broker).await.1, "degraded", "key")), (Some(1.0), None));

        kms.fails(KmsFault::Error("DisabledException"));
        assert!(!new_caller(&sealed).await);
        let (status, said) = told(broker).await;
        let key = why(&said, "degraded", "key").unwrap_or_else(|| panic!("{said}"));
        assert_eq!(status, 200, "it serves what is open: {said}");
        for says in
            [kms.key_id.as_str(), kms.endpoint.as_str(), "DisabledException", "five minutes", "nothing is renewed"]
        {
            assert!(key.contains(says), "{says}: {key}");
        }
        assert_eq!(gauge().await, Some(0.0));
        let failed = ["outcome=\"disabled\"", "operation=\"unwrap\""];
        assert!(metric(&metrics(broker).await, "sallyport_key_service_seconds_count", &failed) > Some(0.0));
        assert!(new_caller(&opened).await, "what is open is served");

        kms.fails(KmsFault::None);
        // Nobody needs it meanwhile: it is tried.
        eventually("it is found to be back", async || {
            why(&told(broker).await.1, "degraded", "key").is_none().then_some(())
        })
        .await;
        assert_eq!(gauge().await, Some(1.0));
        assert!(new_caller(&sealed).await);
    });
}

#[test]
fn refreshes_show_in_the_metrics_that_operators_are_told_of() {
    run(async {
        // Without Redis they wait for each other by the store.
        let fleet = Fleet::start(World::build().without_redis()).await;
        let first = e2e::unique("person");
        fleet.consents(&first).await;
        let late = Fault::Delay(Moment::AfterProcessBeforeReply, Duration::from_secs(1));
        fleet.provider.fail_next(Endpoint::Token, 1, &late);
        let given = fleet.given_by_each(&first, &fleet.server).await;
        assert!(given[0].is_some() && given.iter().all(|each| *each == given[0]), "{given:?}");
        assert_eq!(fleet.refreshes(), 1);
        until_counted(&fleet, "sallyport_refreshes_total", &["outcome=\"done\"", "profile=\"notion\""]).await;
        until_counted(&fleet, "sallyport_token_endpoint_seconds_sum", &["profile=\"notion\""]).await;
        until_counted(&fleet, "sallyport_token_endpoint_seconds_count", &["profile=\"notion\""]).await;
        until_counted(&fleet, "sallyport_refresh_lock_wait_seconds_sum", &[]).await;
        until_counted(&fleet, "sallyport_lease_wait_seconds_count", &[]).await;
        until_counted(&fleet, "sallyport_refresh_commit_seconds_count", &[]).await;

        let second = e2e::unique("person");
        fleet.consents(&second).await;
        fleet.provider.fail(Endpoint::Token, Fault::status(500));
        assert_eq!(fleet.given_by(&fleet.world.broker, &second, &fleet.server).await, None);
        until_counted(&fleet, "sallyport_refreshes_total", &["outcome=\"failed\""]).await;

        // Somebody used it a moment ago, and nobody came to refresh it for a minute.
        let now = now_seconds() * 1000;
        let overdue = format!(
            "UPDATE grants SET used_at = {now}, due_at = {} WHERE holder = \
             (SELECT principal FROM identities WHERE subject = $1)",
            now - 60_000
        );
        assert_eq!(fleet.world.broker.database().await.execute(&overdue, &[&second]).await, 1);
        until_counted(&fleet, "sallyport_refresh_oldest_due_seconds", &[]).await;
    });
}
