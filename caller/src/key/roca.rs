//! The fingerprint of RSA moduli that can be factored (Nemec et al., "The Return of Coppersmith's Attack", 2017).
//!
//! The broken generator makes primes that are powers of 65537 modulo a product of small primes, and so is the modulus.
//! A sound modulus passes for one with a chance of about 2^-27.

/// The odd primes whose product divides the generator's constant for every key size.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether `modulus` (big-endian) is a power of 65537 modulo each of [`PRIMES`].
pub(super) fn is_factorable(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        // Everything stays below 167 * 65537: nothing wraps.
        let residue = |value: u32| value.checked_rem(*prime).unwrap_or(0);
        let remainder = modulus.iter().fold(0, |high, byte| residue(u32::wrapping_mul(high, 256) | u32::from(*byte)));
        let mut power = 1;
        loop {
            if power == remainder {
                return true;
            }
            power = residue(u32::wrapping_mul(power, 65537));
            if power == 1 {
                return false;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 65537^exponent, big-endian.
    fn power(exponent: usize) -> Vec<u8> {
        let mut little = vec![1_u8];
        for _ in 0..exponent {
            let mut product = vec![0_u8; little.len() + 3];
            let mut carry = 0_u32;
            for (at, digit) in product.iter_mut().enumerate() {
                let low = little.get(at).copied().map_or(0, u32::from);
                let high = at.checked_sub(2).and_then(|at| little.get(at)).copied().map_or(0, u32::from);
                let sum = low + high + carry;
                *digit = (sum & 0xff) as u8;
                carry = sum >> 8;
            }
            while product.last() == Some(&0) {
                product.pop();
            }
            little = product;
        }
        little.reverse();
        little
    }

    #[test]
    fn flags_powers_of_the_generator() {
        assert_eq!(power(1), [1, 0, 1]);
        for exponent in [1, 2, 77, 128] {
            assert!(is_factorable(&power(exponent)), "{exponent}");
        }
    }

    #[test]
    fn passes_other_numbers() {
        let mut modulus = power(128);
        let last = modulus.len() - 1;
        for offset in [2, 4, 6, 30, 100, 200] {
            modulus[last] = modulus[last].wrapping_add(offset);
            assert!(!is_factorable(&modulus), "{offset}");
        }
        assert!(!is_factorable(&[]));
    }
}
