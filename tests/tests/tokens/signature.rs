//! Signatures: only the whole, true one of the right key, in the one encoding a JWS has.

use std::sync::Arc;

use e2e::{Algorithm, SigningKey, World, run};

/// Order of the group of P-256.
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

#[test]
fn accepts_each_algorithm_that_the_issuer_is_configured_for() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let token = world.issuer.token_signed(algorithm, "alice", &server).mint();
            server.accepts_token(algorithm.name(), &token).await;
        }
        assert_eq!(server.upstream.requests().len(), 3);
    });
}

#[test]
fn j5_refuses_psychic_and_misshapen_ecdsa_signatures() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.issuer.token_signed(Algorithm::Es256, "mallory", &server);
        let true_one = token.signature();
        let (r, s) = true_one.split_at(32);
        let one = {
            let mut one = [0; 32];
            one[31] = 1;
            one
        };
        let of = |r: &[u8], s: &[u8]| [r, s].concat();
        for (what, signature) in [
            ("r = s = 0", of(&[0; 32], &[0; 32])),
            ("r = 0", of(&[0; 32], s)),
            ("s = 0", of(r, &[0; 32])),
            ("r = n", of(&N, s)),
            ("s = n", of(r, &N)),
            ("r = s = n", of(&N, &N)),
            ("r = s = 1", of(&one, &one)),
            ("r = n, s = 0", of(&N, &[0; 32])),
            ("r = s = 2^256 - 1", vec![0xff; 64]),
            ("r and s swapped", of(s, r)),
            ("r twice", of(r, r)),
            ("DER", der(r, s)),
            ("DER of zeros", vec![0x30, 6, 2, 1, 0, 2, 1, 0]),
            ("empty", Vec::new()),
            ("one byte", vec![0]),
            ("only r", r.to_vec()),
            ("63 bytes", true_one[..63].to_vec()),
            ("65 bytes", of(&true_one, &[0])),
            ("a zero before", of(&[0], &true_one)),
            ("r and s of 48 bytes", of(&of(&[0; 16], r), &of(&[0; 16], s))),
            ("twice", of(&true_one, &true_one)),
            ("10 kB", vec![7; 10_000]),
        ] {
            server.refuses_token(what, &token.mint_with_signature(&signature)).await;
        }
        server.upstream.assert_untouched("a bent ECDSA signature");
    });
}

#[test]
fn j5_refuses_every_flipped_bit() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let token = world.issuer.token_signed(algorithm, "mallory", &server);
            let true_one = token.signature();
            let step = true_one.len().div_ceil(32);
            for at in (0..true_one.len()).step_by(step).chain([true_one.len() - 1]) {
                let mut signature = true_one.clone();
                signature[at] ^= 1 << (at % 8);
                let what = format!("{} with byte {at} changed", algorithm.name());
                server.refuses_token(&what, &token.mint_with_signature(&signature)).await;
            }
        }
        server.upstream.assert_untouched("a flipped bit");
    });
}

#[test]
fn j5_refuses_rsa_and_eddsa_signatures_of_other_shapes() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        for algorithm in [Algorithm::Rs256, Algorithm::EdDsa] {
            let token = world.issuer.token_signed(algorithm, "mallory", &server);
            let true_one = token.signature();
            let size = true_one.len();
            for (what, signature) in [
                ("empty", Vec::new()),
                ("zeros", vec![0; size]),
                ("ones", vec![0xff; size]),
                ("the number one", [vec![0; size - 1], vec![1]].concat()),
                ("shorter", true_one[..size - 1].to_vec()),
                ("longer", [true_one.clone(), vec![0]].concat()),
                ("a zero before", [vec![0], true_one.clone()].concat()),
                ("back to front", true_one.iter().rev().copied().collect()),
            ] {
                let what = format!("{}: {what}", algorithm.name());
                server.refuses_token(&what, &token.mint_with_signature(&signature)).await;
            }
        }
        server.upstream.assert_untouched("a bent signature");
    });
}

#[test]
fn j5_refuses_a_signature_over_something_else() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let good = world.issuer.token("alice", &server);
        let forged = world.issuer.token("mallory", &server);
        server.refuses_token("signature of another token", &forged.mint_with_signature(&good.signature())).await;
        let stranger = Arc::new(SigningKey::new(Algorithm::Es256, "ec-1"));
        let token = world.issuer.token_signed(Algorithm::Es256, "mallory", &server).signed_by(&stranger);
        server.refuses_token("a stranger's key under our kid", &token.mint()).await;
        server.upstream.assert_untouched("a signature over something else");
    });
}

#[test]
fn j5_reads_only_unpadded_base64url_without_spare_bits() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let good = world.issuer.token_signed(Algorithm::Es256, "mallory", &server).mint();
        // 64 bytes are 86 characters, of which the last carries four spare bits.
        let last = good.chars().last().expect("not empty");
        let spare = char::from(u8::try_from(last).expect("ASCII") + 1);
        let rest = &good[..good.len() - 1];
        for (what, token) in [
            ("padding", format!("{good}==")),
            ("spare bits set", format!("{rest}{spare}")),
            ("a character less", rest.to_owned()),
            ("a space inside", good.replacen('.', " .", 1)),
            ("a tab at the end of a part", good.replacen('.', "\t.", 1)),
            ("standard alphabet", format!("{}+/", &good[..good.len() - 2])),
            ("percent", format!("{good}%3D")),
        ] {
            server.refuses_token(what, &token).await;
        }
        server.upstream.assert_untouched("another spelling of a token");
    });
}

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |value: &[u8]| {
        let mut value = value.to_vec();
        if value.first().is_some_and(|byte| byte & 0x80 != 0) {
            value.insert(0, 0);
        }
        [vec![2, u8::try_from(value.len()).expect("short")], value].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(body.len()).expect("short")], body].concat()
}
