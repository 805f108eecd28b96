//! The natural logarithm in integers: every platform and language gets the same digits. `f64::ln` does not promise that, because
//! its last digit depends on the C library.

/// Digits after the binary point of [`minus_ln`].
pub(crate) const BITS: u32 = 60;
/// ln 2 · 2^62, rounded down.
const LN_2: u128 = 0x2c5c_85fd_f473_de6a;

/// −ln(n / 2^64) for n from 1 to 2^64, in units of 2^-60.
///
/// Computes log2 by repeated squaring: the mantissa is squared, and gives one digit each time it passes 2 (C. S. Turner, "A Fast
/// Binary Logarithm Algorithm", IEEE Signal Processing Magazine 27(5), 2010). Then it is multiplied by ln 2.
///
/// Error: the mantissa has 64 bits and is rounded down, by less than 2^-63 of itself. The loss in the i-th squaring counts 2^-i,
/// so all losses together are less than 1.45 · 2^-63. Less than 2^-60 is cut off after the last digit, and again after the
/// product's; ln 2 is too small by less than 2^-62, at most 64 times. Together the error is less than 2^-55.6. Two entries whose
/// true keys are closer than that may be in the wrong order, with a chance of about 2^-55.
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
        // The smallest n gives the longest product, 64 · ln 2.
        assert_eq!(minus_ln(1), ((64 << BITS) * LN_2) >> 62);
        for n in (0..64)
            .flat_map(|bit| [(1_u128 << bit) + 1, (3_u128 << bit) / 2 + 1, (2_u128 << bit) - 1])
            .filter(|n| *n >= 1)
        {
            let exact = -(n as f64 / 2_f64.powi(64)).ln();
            let ours = minus_ln(n) as f64 / 2_f64.powi(BITS as i32);
            // f64 has 53 bits: it checks the algorithm but not its last digits, which the script in another language checks.
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
