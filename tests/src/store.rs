//! What brokers under test keep everything in: a file of SQLite's, or with `SALLYPORT_STORE=postgres` a database.

use postgres_counterpart::Server;
use serde_json::json;

use crate::world::Change;

/// What to change in a broker's configuration so that it uses the store that the environment names.
///
/// # Panics
/// When the environment names none that is known.
pub(crate) async fn change() -> Change {
    match std::env::var("SALLYPORT_STORE").as_deref() {
        Err(_) | Ok("sqlite") => Box::new(|_| {}),
        Ok("postgres") => {
            let url = Server::shared().database().await.url;
            Box::new(move |config| config["store"] = json!({"postgres": {"url": url}}))
        }
        Ok(other) => panic!("SALLYPORT_STORE={other}: use `sqlite` or `postgres`"),
    }
}
