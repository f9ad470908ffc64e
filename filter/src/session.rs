//! Session ids of the eras up to 2025-11-25, bound to the caller and the server they were given to (R9).
//!
//! Many upstreams take whoever shows a session id for its owner. What the client holds is
//! `<upstream id>.<flags>.<mac>`: the gateway signs it on the way out, and checks and strips it on the way in, so that
//! another caller's id, or the same id at another server, is unknown. It carries no secret and no identity.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac_sha256::HMAC;

/// Longest id an upstream may give, in bytes.
const LONGEST: usize = 1_024;
/// Bytes of the MAC that are kept: 128 bits.
const MAC_BYTES: usize = 16;
/// Text of the MAC, in base64url without padding.
const MAC_CHARACTERS: usize = 22;

/// The keys of the snapshot: ids are made with the current one, and known by either until the next rotation.
#[derive(Clone, Copy)]
pub struct SessionKeys<'a> {
    /// 32 bytes.
    pub current: &'a [u8],
    /// 32 bytes, or empty where there is none.
    pub previous: &'a [u8],
}

/// To whom and to what a session belongs; each part counts, none runs into the next.
#[derive(Clone, Copy, Debug)]
pub struct SessionOwner<'a> {
    /// Tenant of the deployment.
    pub tenant: &'a str,
    /// `iss` of the caller.
    pub issuer: &'a str,
    /// Subject of the caller at that issuer.
    pub subject: &'a str,
    /// `<group>/<name>`.
    pub server: &'a str,
}

/// What the gateway must remember of a session, without storing anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionFlags {
    /// The client declared `elicitation.url` when it initialized.
    pub elicits_by_url: bool,
}

impl SessionFlags {
    fn as_text(self) -> &'static str {
        if self.elicits_by_url { "1" } else { "0" }
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self { elicits_by_url: false }),
            "1" => Some(Self { elicits_by_url: true }),
            _ => None,
        }
    }
}

/// The id the client gets for the upstream's; none if that is no session id (0x21 to 0x7E) or there is no key.
pub fn bind(
    upstream_id: &[u8],
    flags: SessionFlags,
    keys: SessionKeys<'_>,
    owner: &SessionOwner<'_>,
) -> Option<String> {
    let upstream_id = session_id(upstream_id)?;
    let mac = URL_SAFE_NO_PAD.encode(mac(keys.current, upstream_id, flags, owner)?);
    Some(format!("{upstream_id}.{}.{mac}", flags.as_text()))
}

/// The upstream's id and the flags, if exactly this was bound for this owner with one of the keys.
pub fn unbind<'a>(bound: &'a [u8], keys: SessionKeys<'_>, owner: &SessionOwner<'_>) -> Option<(&'a str, SessionFlags)> {
    // An upstream's id may have dots, what we add has none: read from the end.
    let (rest, presented) = std::str::from_utf8(bound).ok()?.rsplit_once('.')?;
    let (upstream_id, flags) = rest.rsplit_once('.')?;
    let upstream_id = session_id(upstream_id.as_bytes())?;
    let flags = SessionFlags::from_text(flags)?;
    if presented.len() != MAC_CHARACTERS {
        return None;
    }
    // The decoder refuses stray last bits, so one MAC has one text.
    let presented = URL_SAFE_NO_PAD.decode(presented).ok()?;
    let known = [keys.current, keys.previous]
        .into_iter()
        .filter_map(|key| mac(key, upstream_id, flags, owner))
        .fold(false, |known, mac| known | same(&mac, &presented));
    known.then_some((upstream_id, flags))
}

fn session_id(id: &[u8]) -> Option<&str> {
    let valid = !id.is_empty() && id.len() <= LONGEST && id.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(id).ok().filter(|_| valid)
}

/// None for a key that is not 32 bytes: an empty key would let anyone bind.
fn mac(key: &[u8], upstream_id: &str, flags: SessionFlags, owner: &SessionOwner<'_>) -> Option<[u8; MAC_BYTES]> {
    if key.len() != 32 {
        return None;
    }
    let mut hmac = HMAC::new(key);
    let parts =
        ["sallyport session 1", owner.tenant, owner.issuer, owner.subject, owner.server, flags.as_text(), upstream_id];
    for part in parts {
        // Lengths keep "a", "bc" apart from "ab", "c".
        hmac.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hmac.update(part);
    }
    hmac.finalize().first_chunk::<MAC_BYTES>().copied()
}

/// Compares without telling by time where the first difference is.
fn same(mac: &[u8; MAC_BYTES], presented: &[u8]) -> bool {
    let differences = mac.iter().zip(presented).fold(0u8, |differences, (a, b)| differences | (a ^ b));
    presented.len() == MAC_BYTES && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: SessionKeys<'_> = SessionKeys { current: &[1; 32], previous: &[2; 32] };
    const ALICE: SessionOwner<'_> =
        SessionOwner { tenant: "demo", issuer: "https://idp", subject: "alice", server: "demo/echo" };
    const PLAIN: SessionFlags = SessionFlags { elicits_by_url: false };

    fn bound() -> String {
        bind(b"abc.def", PLAIN, KEYS, &ALICE).unwrap()
    }

    #[test]
    fn a_session_comes_back_to_its_owner() {
        for id in ["a", "abc", "abc.def", ".", "..", "a.0.b", "!~", "8f14e45f-ceea-467f-9f0e-c7d1bca1f5a2"] {
            for flags in [PLAIN, SessionFlags { elicits_by_url: true }] {
                let bound = bind(id.as_bytes(), flags, KEYS, &ALICE).unwrap();
                assert!(bound.bytes().all(|byte| byte.is_ascii_graphic()));
                assert_eq!(unbind(bound.as_bytes(), KEYS, &ALICE), Some((id, flags)));
            }
        }
    }

    #[test]
    fn r9_is_unknown_to_everyone_else_and_elsewhere() {
        let bound = bound();
        for (who, owner) in [
            ("another tenant", SessionOwner { tenant: "demo2", ..ALICE }),
            ("another issuer", SessionOwner { issuer: "https://idp2", ..ALICE }),
            ("another subject", SessionOwner { subject: "bob", ..ALICE }),
            ("another case", SessionOwner { subject: "Alice", ..ALICE }),
            ("another server", SessionOwner { server: "demo/other", ..ALICE }),
            ("shifted parts", SessionOwner { issuer: "https://idpa", subject: "lice", ..ALICE }),
        ] {
            assert_eq!(unbind(bound.as_bytes(), KEYS, &owner), None, "{who}");
        }
    }

    #[test]
    fn r9_refuses_every_single_change() {
        let bound = bound();
        for position in 0..bound.len() {
            for bit in 0..8 {
                let mut changed = bound.clone().into_bytes();
                changed[position] ^= 1 << bit;
                assert_eq!(unbind(&changed, KEYS, &ALICE), None, "byte {position} bit {bit}");
            }
            assert_eq!(unbind(&bound.as_bytes()[..position], KEYS, &ALICE), None);
            assert_eq!(unbind(&bound.as_bytes()[position + 1..], KEYS, &ALICE), None);
        }
        assert_eq!(unbind(format!("{bound}=").as_bytes(), KEYS, &ALICE), None);
        assert_eq!(unbind(format!("{bound},{bound}").as_bytes(), KEYS, &ALICE), None);
    }

    #[test]
    fn refuses_flipped_flags() {
        let flipped = bound().replace("abc.def.0.", "abc.def.1.");
        assert_ne!(flipped, bound());
        assert_eq!(unbind(flipped.as_bytes(), KEYS, &ALICE), None);
    }

    #[test]
    fn refuses_what_was_never_bound() {
        for id in [
            "",
            ".",
            "..",
            "...",
            "abc",
            "abc.0",
            "abc.0.",
            "abc.2.AAAAAAAAAAAAAAAAAAAAAA",
            ".0.AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(unbind(id.as_bytes(), KEYS, &ALICE), None, "{id}");
        }
        assert_eq!(unbind(b"\xff.0.AAAAAAAAAAAAAAAAAAAAAA", KEYS, &ALICE), None);
    }

    #[test]
    fn the_previous_key_is_known_until_the_next_rotation() {
        let bound = bound();
        let once = SessionKeys { current: &[3; 32], previous: &[1; 32] };
        assert_eq!(unbind(bound.as_bytes(), once, &ALICE), Some(("abc.def", PLAIN)));
        let twice = SessionKeys { current: &[4; 32], previous: &[3; 32] };
        assert_eq!(unbind(bound.as_bytes(), twice, &ALICE), None);
    }

    #[test]
    fn i8_without_a_key_nothing_is_bound_or_known() {
        let none = SessionKeys { current: &[], previous: &[] };
        assert_eq!(bind(b"abc", PLAIN, none, &ALICE), None);
        assert_eq!(unbind(bound().as_bytes(), none, &ALICE), None);
    }

    #[test]
    fn refuses_ids_that_are_no_session_ids() {
        for id in [&b""[..], b" ", b"a b", b"a\n", b"\x7f", b"\x80", &[b'a'; 1_025]] {
            assert_eq!(bind(id, PLAIN, KEYS, &ALICE), None, "{id:?}");
        }
    }
}
