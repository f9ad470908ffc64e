//! `sallyport serve`

use super::{Failure, Global};
use crate::config::Config;

pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config())?;
    config.check_files()?;
    crate::serve::run(config).await.map_err(|error| Failure::of(&error))
}
