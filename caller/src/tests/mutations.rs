//! Thousands of changed tokens, none accepted (J5), and none that traps (I10).

use super::*;

/// A small generator with a fixed start, so that a failure can be repeated (xorshift64*).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

fn mutate(token: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ,\0\xff";
    let mut changed = token.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(changed.len());
        match dice.below(9) {
            0 => changed[at] ^= 1 << dice.below(8),
            1 => changed[at] = DIGITS[dice.below(DIGITS.len())],
            2 => changed.insert(at, DIGITS[dice.below(DIGITS.len())]),
            3 => drop(changed.remove(at)),
            4 => changed.truncate(at + 1),
            5 => drop(changed.drain(..at)),
            6 => {
                let to = dice.below(changed.len());
                changed.swap(at, to);
            }
            7 => {
                let piece = changed[at..].to_vec();
                changed.extend(piece);
            }
            _ => {
                let cut = at.min(other.len());
                changed.truncate(cut);
                changed.extend(&other[cut..]);
            }
        }
        if changed.is_empty() {
            changed.push(b'.');
        }
    }
    changed
}

#[test]
fn j5_accepts_none_of_6000_mutated_tokens() {
    let mut dice = Dice(0x5a11_7090_47ab_c0de);
    for signer in [Signer::es256(), Signer::rsa(Algorithm::Rs256), Signer::Ed25519(Ed25519KeyPair::generate())] {
        let world = World::of(signer);
        let token = world.signer.token(&claims()).into_bytes();
        let other = world.signer.token(&claims_with(json!({"sub": "bob-id"}))).into_bytes();
        for _ in 0..2000 {
            let changed = mutate(&token, &other, &mut dice);
            if changed != token && changed != other {
                assert!(world.verify(&changed).is_err(), "{}", String::from_utf8_lossy(&changed));
            }
        }
    }
}

#[test]
fn i10_no_signed_nonsense_traps() {
    let mut dice = Dice(0x0dd5_eed0_0dd5_eed1);
    let world = World::new();
    let (header, good) = (world.signer.header().to_string().into_bytes(), claims().to_string().into_bytes());
    for _ in 0..1000 {
        let mut pieces = [header.clone(), good.clone()];
        let piece = &mut pieces[dice.below(2)];
        for _ in 0..=dice.below(3) {
            let at = dice.below(piece.len());
            match dice.below(4) {
                0 => piece[at] = b"{}[]\",:\\u0-9.e\x00\xff\xc0"[dice.below(17)],
                1 => drop(piece.remove(at)),
                2 => piece.insert(at, b"{}[]\",:\\0"[dice.below(9)]),
                _ => piece.truncate(at + 1),
            }
        }
        let message = format!("{}.{}", encode(&pieces[0]), encode(&pieces[1]));
        let token = format!("{message}.{}", encode(world.signer.signature(message.as_bytes())));
        // Accepted or not: it must come back. What is accepted is still whom the words name.
        if let Ok(caller) = world.verify(token) {
            assert_eq!(caller.issuer(), ISSUER);
        }
    }
}
