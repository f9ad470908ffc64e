//! What is carried over to tokens that come without a refresh token.

use super::accounts::of_account;
use super::*;
use crate::model::Generation;
use crate::refresher::Pair;
use crate::secret::Secret;
use crate::store::Pause;

#[tokio::test]
async fn i5_of_a_refused_refresh_token_and_its_spare_the_spare_is_carried_over() {
    for (is_refused, kept) in [(false, "canary-refresh-1"), (true, "canary-refresh-spare")] {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        site.fixture.provider.answers(200, &of_account("one"));
        site.connect(&alice, "wiki").await;
        let grant = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
        let (store, of_spare) = (&site.fixture.store, Generation(grant.generation.0 + 1));
        let pair = Pair::new(&site.fixture.vault, &grant.id).await.unwrap();
        let spare = Secret::new("canary-refresh-spare");
        let (_, spare) = pair.seal(&grant.id, of_spare, &Secret::new("unused"), Some(&spare));
        store.keep_spare(&grant.id, grant.generation, of_spare, &spare.unwrap()).await.unwrap();
        let pause = Pause { spare_is_next: is_refused, ..Pause::over(START) };
        assert!(store.pause(&grant.id, grant.generation, None, &pause).await.unwrap());

        site.needs("wiki", &["more"]);
        site.fixture
            .provider
            .answers(200, &of_account("one").replace(r#""refresh_token":"canary-refresh-NUMBER","#, ""));
        site.connect(&alice, "wiki").await;
        let grant = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
        assert_eq!(site.tokens(&grant).await, ("canary-token-2".to_owned(), kept.to_owned()));
    }
}
