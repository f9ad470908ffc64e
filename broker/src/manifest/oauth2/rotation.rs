//! `refresh_token_rotation` and `refresh_token_grace`: what the provider does with a refresh token that was used.

use std::time::Duration;

use crate::config::{duration, one_of};
use crate::oauth::profile::Rotation;
use crate::yaml::{Fields, Flaw};

/// The longest window that is believed: a copy of a refresh token would be good for as long.
const MOST: Duration = Duration::from_secs(10 * 60);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    None,
    KeepsOld,
    Grace,
    Strict,
}

/// What the manifest says, nothing where it says nothing; `None` if what it says cannot be read.
pub(super) fn read(fields: &Fields<'_>) -> Option<Option<Rotation>> {
    let words = [("none", Word::None), ("keeps_old", Word::KeepsOld), ("grace", Word::Grace), ("strict", Word::Strict)];
    let grace = fields.optional("refresh_token_grace");
    let window = grace.as_ref().map(|field| field.parse(window));
    let Some(field) = fields.optional("refresh_token_rotation") else {
        let hint = "write `refresh_token_rotation: grace` beside it, or remove it";
        grace.iter().for_each(|field| field.report(Flaw::new("says how long, and nothing says of what", hint)));
        return grace.is_none().then_some(None);
    };
    match (field.parse(|text| one_of(text, &words))?, window) {
        (Word::None, None) => Some(Some(Rotation::NonRotating)),
        (Word::KeepsOld, None) => Some(Some(Rotation::OldValid)),
        (Word::Strict, None) => Some(Some(Rotation::Strict)),
        (Word::Grace, Some(window)) => Some(Some(Rotation::Grace(window?))),
        (Word::Grace, None) => {
            let hint = "write how long the provider takes an old refresh token, for example `refresh_token_grace: 30s`";
            field.report(Flaw::new("does not say how long", hint));
            None
        }
        (Word::None | Word::KeepsOld | Word::Strict, Some(_)) => {
            let flaw = Flaw::new("has no meaning without `refresh_token_rotation: grace`", "remove one of the two");
            grace.iter().for_each(|field| field.report(flaw.clone()));
            None
        }
    }
}

fn window(text: &str) -> Result<Duration, Flaw> {
    let window = duration(text)?;
    match window {
        Duration::ZERO => Err(Flaw::new("is no time at all", "write `refresh_token_rotation: strict` instead")),
        _ if window > MOST => Err(Flaw::new("is longer than ten minutes", "write ten minutes at most")),
        _ => Ok(window),
    }
}
