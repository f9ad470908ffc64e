//! J5: psychic, malleable and misshapen signatures; and jwt-simple as the judge of ours.

use jwt_simple::algorithms::{ECDSAP256PublicKeyLike, EdDSAPublicKeyLike, RSAPublicKeyLike};
use jwt_simple::claims::NoCustomClaims;
use jwt_simple::common::VerificationOptions;
use jwt_simple::prelude::{Duration, UnixTimeStamp};

use super::mutations::Dice;
use super::*;

/// A good message with this signature.
fn with_signature(world: &World, signature: &[u8]) -> String {
    let token = world.signer.token(&claims());
    format!("{}.{}", token.rsplit_once('.').unwrap().0, encode(signature))
}

fn good_signature(world: &World) -> (String, Vec<u8>) {
    let token = world.signer.token(&claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    (message.to_owned(), URL_SAFE_NO_PAD.decode(signature).unwrap())
}

const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn j5_refuses_misshapen_ecdsa_signatures() {
    let world = World::new();
    let (message, good) = good_signature(&world);
    let (r, s) = good.split_at(32);
    let order = hex(P256_ORDER);
    let mut above = order.clone();
    above[31] += 1;
    let zero = vec![0; 32];
    let one = [&zero[..31], &[1]].concat();
    let ff = vec![0xff; 32];
    let der = es256_der(&good).unwrap();
    let wide = |half: &[u8]| [&[0][..], half].concat();
    let mut cases: Vec<Vec<u8>> = vec![
        vec![0; 64],
        vec![0],
        vec![0; 2],
        vec![0; 63],
        vec![0; 65],
        vec![0; 96],
        vec![0; 128],
        der.clone(),
        der[2..].to_vec(),
        good[..63].to_vec(),
        good[1..].to_vec(),
        good[..32].to_vec(),
        [&good[..], &[0]].concat(),
        [&[0], &good[..]].concat(),
        [&wide(r)[..], &wide(s)].concat(),
        [s, r].concat(),
        [&good[..], &good[..]].concat(),
        vec![0x30, 6, 2, 1, 0, 2, 1, 0],
        vec![0x30, 6, 2, 1, 1, 2, 1, 1],
    ];
    let edges = [zero.clone(), one, order, above, ff];
    for edge in &edges {
        cases.push([edge, s].concat());
        cases.push([r, edge].concat());
        for other in &edges {
            cases.push([&edge[..], other].concat());
        }
    }
    assert!(cases.len() >= 50);
    for signature in cases {
        let token = format!("{message}.{}", encode(&signature));
        assert_eq!(world.verify(token), Err(TokenError::Signature), "{signature:02x?}");
    }
}

#[test]
fn j5_refuses_misshapen_rsa_and_eddsa_signatures() {
    for signer in
        [Signer::rsa(Algorithm::Rs256), Signer::rsa(Algorithm::Ps256), Signer::Ed25519(Ed25519KeyPair::generate())]
    {
        let world = World::of(signer);
        let (message, good) = good_signature(&world);
        let mut flipped = good.clone();
        flipped[0] ^= 1;
        let mut last = good.clone();
        *last.last_mut().unwrap() ^= 0x80;
        for signature in [
            vec![0; good.len()],
            vec![0xff; good.len()],
            vec![1],
            good[1..].to_vec(),
            good[..good.len() - 1].to_vec(),
            [&[0], &good[..]].concat(),
            [&good[..], &[0]].concat(),
            [&good[..], &good[..]].concat(),
            flipped,
            last,
        ] {
            let token = format!("{message}.{}", encode(&signature));
            assert_eq!(world.verify(token), Err(TokenError::Signature), "{:?}", world.signer.algorithm());
        }
    }
    let world = World::of(Signer::rsa(Algorithm::Rs256));
    let pss = Signer::rsa(Algorithm::Ps256);
    let (message, _) = good_signature(&world);
    assert_eq!(world.verify(with_signature(&world, &pss.signature(message.as_bytes()))), Err(TokenError::Signature));
}

/// A host that agrees to whatever it is asked, or refuses it, and counts.
struct Host(bool, std::cell::Cell<u32>);

impl HostSignatures for Host {
    fn verify(&self, _: &PublicKey, _: &[u8], _: &[u8]) -> Option<bool> {
        self.1.set(self.1.get() + 1);
        Some(self.0)
    }
}

#[test]
fn a_host_is_asked_only_about_signatures_of_the_right_shape() {
    let world = World::new();
    let credulous = Host(true, std::cell::Cell::new(0));
    for signature in [vec![0; 64], vec![1; 63], vec![1; 65], vec![0xff; 64], vec![0x30, 6, 2, 1, 1, 2, 1, 1]] {
        let refused = verify(
            with_signature(&world, &signature).as_bytes(),
            &world.issuers,
            &world.identities,
            NOW_MS,
            &credulous,
        );
        assert_eq!(refused, Err(TokenError::Signature));
    }
    assert_eq!(credulous.1.get(), 0);
    let token = world.signer.token(&claims());
    assert!(verify(token.as_bytes(), &world.issuers, &world.identities, NOW_MS, &credulous).is_ok());
    assert_eq!(credulous.1.get(), 1);
}

#[test]
fn a_hosts_no_is_final() {
    let world = World::new();
    let token = world.signer.token(&claims());
    let refused =
        verify(token.as_bytes(), &world.issuers, &world.identities, NOW_MS, &Host(false, std::cell::Cell::new(0)));
    assert_eq!(refused, Err(TokenError::Signature));
}

/// What jwt-simple says of the same token, with its clock where ours is.
fn jwt_simple_accepts(signer: &Signer, token: &str) -> bool {
    let options = VerificationOptions {
        artificial_time: Some(UnixTimeStamp::from_secs(NOW)),
        time_tolerance: Some(Duration::from_secs(60)),
        ..VerificationOptions::default()
    };
    match signer {
        Signer::Es256(key) => key.public_key().verify_token::<NoCustomClaims>(token, Some(options)).is_ok(),
        Signer::Ed25519(key) => key.public_key().verify_token::<NoCustomClaims>(token, Some(options)).is_ok(),
        Signer::Rsa(key, _) => key.public_key().verify_token::<NoCustomClaims>(token, Some(options)).is_ok(),
        Signer::Es384(_) => unreachable!("not compared"),
    }
}

#[test]
fn agrees_with_jwt_simple_on_every_signature() {
    let mut dice = Dice(0xa9ee_a9ee_a9ee_a9ee);
    for signer in [Signer::es256(), Signer::rsa(Algorithm::Rs256), Signer::Ed25519(Ed25519KeyPair::generate())] {
        let world = World::of(signer);
        let (message, good) = good_signature(&world);
        for round in 0..300 {
            let mut signature = good.clone();
            match dice.below(5) {
                _ if round == 0 => (),
                0 => drop(signature.remove(dice.below(good.len()))),
                1 => signature.insert(dice.below(good.len()), 0),
                2 => signature = (0..good.len()).map(|_| dice.below(256) as u8).collect(),
                _ => signature[dice.below(good.len())] ^= 1 << dice.below(8),
            }
            let token = format!("{message}.{}", encode(&signature));
            assert_eq!(world.verify(&token).is_ok(), jwt_simple_accepts(&world.signer, &token), "{signature:02x?}");
            assert_eq!(world.verify(&token).is_ok(), signature == good);
        }
    }
}

#[test]
fn der_is_what_the_curve_libraries_write() {
    let mut dice = Dice(0xde12_de12_de12_de12);
    for round in 0..400 {
        let mut raw: Vec<u8> = (0..64).map(|_| dice.below(256) as u8).collect();
        // Short numbers, and numbers whose first bit is set.
        for half in [0, 32] {
            let leading = dice.below(33).min(if round % 2 == 0 { 31 } else { 0 });
            raw[half..half + leading].fill(0);
        }
        let expected =
            p256::ecdsa::Signature::from_slice(&raw).ok().map(|signature| signature.to_der().as_bytes().to_vec());
        assert_eq!(es256_der(&raw), expected, "{raw:02x?}");
    }
    for length in [0, 1, 32, 63, 65, 96, 128] {
        assert_eq!(es256_der(&vec![1; length]), None);
    }
}
