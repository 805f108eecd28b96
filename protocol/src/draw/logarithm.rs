//! The natural logarithm in integers: every platform and every language gets the same digits, which `f64::ln` does not
//! promise (its last digit is the C library's).

/// Digits behind the binary point of [`minus_ln`].
pub(crate) const BITS: u32 = 60;
/// ln 2 · 2^62, rounded down.
const LN_2: u128 = 0x2c5c_85fd_f473_de6a;

/// −ln(n / 2^64) for n from 1 to 2^64, in units of 2^-60.
///
/// log2 by repeated squaring: the mantissa is squared, and gives one digit each time it passes 2 (C. S. Turner, "A Fast
/// Binary Logarithm Algorithm", IEEE Signal Processing Magazine 27(5), 2010). Then times ln 2.
///
/// Error: the mantissa has 64 bits and is cut off downwards, by less than 2^-63 of itself; what is lost in the i-th squaring
/// counts 2^-i, so that all of them lose less than 1.45 · 2^-63. Less than 2^-60 is cut off behind the last digit, and again
/// behind the product's; ln 2 is too small by less than 2^-62, of at most 64 times. Together less than 2^-55.6. Two entries
/// whose true keys are nearer than that may stand the other way round: a chance of about 2^-55.
pub(crate) fn minus_ln(n: u128) -> u128 {
    debug_assert!((1..=1 << 64).contains(&n));
    let whole = 127 - n.leading_zeros();
    if whole == 64 {
        return 0;
    }
    // 1 ≤ mantissa / 2^63 < 2
    let mut mantissa = (n << (63 - whole)) as u64;
    let mut fraction = 0_u128;
    for _ in 0..BITS {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let digit = (square >> 127) as u32;
        mantissa = (square >> (63 + digit)) as u64;
        fraction = fraction << 1 | u128::from(digit);
    }
    let minus_log2 = (u128::from(64 - whole) << BITS) - fraction;
    (minus_log2 * LN_2) >> 62
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_logarithm() {
        assert_eq!(minus_ln(1 << 64), 0);
        // The least of all, 64 · ln 2, is the longest product.
        assert_eq!(minus_ln(1), ((64 << BITS) * LN_2) >> 62);
        for n in (0..64)
            .flat_map(|bit| [(1_u128 << bit) + 1, (3_u128 << bit) / 2 + 1, (2_u128 << bit) - 1])
            .filter(|n| *n >= 1)
        {
            let exact = -(n as f64 / 2_f64.powi(64)).ln();
            let ours = minus_ln(n) as f64 / 2_f64.powi(BITS as i32);
            // f64 has 53 bits: it checks the algorithm, not its last digits. Those are the other language's to check.
            assert!(
                (exact - ours).abs() <= 1e-14 * exact.max(1.0),
                "{n}: {exact} {ours}"
            );
        }
    }

    #[test]
    fn more_is_never_a_larger_key_but_for_the_last_digits() {
        let mut last = minus_ln(1);
        for n in 2..100_000_u128 {
            let next = minus_ln(n);
            assert!(next < last, "{n}");
            last = next;
        }
    }
}
