//! Two brokers on one store.

use super::*;

/// Another broker, that starts now.
async fn another(world: &World) -> Registry {
    let (store, clock): (_, Arc<dyn Clock>) = (Arc::clone(&world.store), Arc::new(SystemClock));
    let tenant = Tenant("t".to_owned());
    let audit = Audit::start(Arc::clone(&store), Arc::clone(&clock), tenant.clone());
    Registry::load(store, audit, clock, tenant, issuers()).await.unwrap()
}

#[tokio::test]
async fn i11_what_one_broker_was_given_comes_into_force_at_another_once_it_looks() {
    let world = world().await.with_secret().await;
    let other = another(&world).await;
    let mut news = other.subscribe();
    let start = other.look(None).await.unwrap();
    assert!(!news.has_changed().unwrap(), "it is what was loaded");
    world.applied(&[GROUP, TEAM]).await;
    let applied = other.look(Some(start)).await.unwrap();
    assert_eq!(other.servers(), world.registry.servers());
    assert!(other.servers().by_name.contains_key(&echo()));
    assert!(news.has_changed().unwrap());
    news.mark_unchanged();
    assert_eq!(other.look(Some(applied)).await.unwrap(), applied);
    assert!(!news.has_changed().unwrap(), "nothing is new");
    let before = other.servers().by_name[&echo()].revision.clone();
    let _world = world.with_secret().await;
    other.look(Some(applied)).await.unwrap();
    assert_ne!(other.servers().by_name[&echo()].revision, before, "proxies drop what holds the old value");
}

#[tokio::test]
async fn a_value_that_no_server_shows_is_news_too() {
    let world = world().await;
    let other = another(&world).await;
    let start = other.look(None).await.unwrap();
    let news = other.subscribe();
    let _world = world.with_secret().await;
    other.look(Some(start)).await.unwrap();
    assert!(news.has_changed().unwrap(), "a provider that refused the old one is asked again");
}

#[tokio::test]
async fn i8_what_this_version_cannot_read_changes_nothing_and_is_read_once() {
    let world = world().await.with_secret().await;
    world.applied(&[GROUP]).await;
    let other = another(&world).await;
    let start = other.look(None).await.unwrap();
    let in_force = other.servers();
    for (revision, body) in [(1, "{\"type\":\"of-a-later-version\"}"), (2, "no JSON")] {
        let strange =
            StoredManifest { name: "later".to_owned(), kind: "of-a-later-version".to_owned(), body: body.to_owned() };
        world.store.put_manifests(revision, &[strange], "op", UnixTime(0)).await.unwrap();
        let now = other.look(Some(start)).await.unwrap();
        assert_eq!((now.manifests, other.servers()), (revision + 1, Arc::clone(&in_force)));
    }
}
