//! `sallyport serve`

use super::{Failure, Global};
use crate::config::Config;
use crate::registry::RegistryError;
use crate::serve::{self, ServeError};

pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config())?;
    config.check_files()?;
    serve::run(config).await.map_err(|error| match &error {
        ServeError::Registry(RegistryError::Stored { problems }) => {
            Failure::of(&error).and(Failure::of_problems(problems))
        }
        _ => Failure::of(&error),
    })
}
