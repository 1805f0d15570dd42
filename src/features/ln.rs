//! The natural logarithm of many values at once, the same bits on every machine.
//!
//! A system's own logarithm takes one value at a time, and its last bit depends on which library and which processor it runs on. This one
//! uses nothing but the basic operations, which are exact to the last bit everywhere, and has no branch, so neighbours are computed side by
//! side. The method and its constants are those of FreeBSD's `e_log.c` (Sun Microsystems, 1993); the error is below 1 unit in the last place.

// The constants stand as they were published.
#![allow(clippy::excessive_precision)]

use crate::wide::wide;

const LN2_HIGH: f64 = 6.931_471_803_691_238_164_90e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
/// Of the polynomial in the square of `f / (2 + f)`, lowest power first.
const POLYNOMIAL: [f64; 7] = [
    6.666_666_666_666_735_130e-1,
    3.999_999_999_940_941_908e-1,
    2.857_142_874_366_239_149e-1,
    2.222_219_843_214_978_396e-1,
    1.818_357_216_161_805_012e-1,
    1.531_383_769_920_937_332e-1,
    1.479_819_860_511_658_591e-1,
];
/// The bits of sqrt(2) / 2, cut to its high half: where a mantissa begins.
const LEAST: u64 = 0x3fe6_a09e_0000_0000;
const ONE: u64 = 0x3ff0_0000_0000_0000;
const MANTISSA: u64 = 0x000f_ffff_ffff_ffff;
/// 2^52: with a small whole number in its last bits it is the sum of both.
const WHOLE: u64 = 0x4330_0000_0000_0000;
const TWO_52: f64 = 4_503_599_627_370_496.0;
/// Lifts what is too small to be normal.
const LIFT: f64 = 18_014_398_509_481_984.0;
const LIFT_POWER: f64 = 54.0;

wide! {
    /// Every value becomes its logarithm: negative infinity of 0, missing of what is negative or missing.
    pub(crate) fn logarithms(values: &mut [f64]) {
        for v in values {
            *v = ln(*v);
        }
    }
}

#[inline(always)]
fn ln(x: f64) -> f64 {
    let tiny = x < f64::MIN_POSITIVE;
    let lifted = if tiny { x * LIFT } else { x };
    // x = 2^k (1 + f), with 1 + f between sqrt(2) / 2 and sqrt(2).
    let bits = lifted.to_bits().wrapping_add(ONE - LEAST);
    let power = f64::from_bits(WHOLE | (bits >> 52)) - (TWO_52 + 1_023.0);
    let k = if tiny { power - LIFT_POWER } else { power };
    let f = f64::from_bits((bits & MANTISSA) + LEAST) - 1.0;
    let half_square = 0.5 * f * f;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let [a, b, c, d, e, g, h] = POLYNOMIAL;
    let rest = z * (a + w * (c + w * (e + w * h))) + w * (b + w * (d + w * g));
    let value = s * (half_square + rest) + k * LN2_LOW - half_square + f + k * LN2_HIGH;
    let of_zero = if x == 0.0 { f64::NEG_INFINITY } else { f64::NAN };
    let value = if x > 0.0 { value } else { of_zero };
    if x == f64::INFINITY { x } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(x: f64) -> f64 {
        // Among neighbours, so that the wide code is asked and not the rest of the loop.
        let mut values = [x; 33];
        logarithms(&mut values);
        assert!(values.iter().all(|v| v.to_bits() == values[0].to_bits()));
        values[0]
    }

    fn units_apart(a: f64, b: f64) -> u64 {
        let ordered = |v: f64| if v < 0.0 { -((v.to_bits() & !(1 << 63)) as i64) } else { v.to_bits() as i64 };
        ordered(a).abs_diff(ordered(b))
    }

    #[test]
    fn the_ends_are_those_of_a_logarithm() {
        assert_eq!((one(1.0), one(0.0), one(-0.0), one(f64::INFINITY)), (0.0, f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY));
        assert!(one(-1.0).is_nan() && one(f64::NAN).is_nan() && one(f64::NEG_INFINITY).is_nan() && one(-1e-310).is_nan());
        let edges = [f64::MIN_POSITIVE, f64::MIN_POSITIVE.next_down(), 5e-324, f64::MAX, 1.0f64.next_up(), 1.0f64.next_down(), 2.0, 10.0, 0.5f64.sqrt()];
        for x in edges {
            assert!(units_apart(one(x), x.ln()) <= 1, "{x}: {} is not {}", one(x), x.ln());
        }
        // Known to the last bit: no library is asked.
        assert_eq!([one(2.0), one(10.0), one(1.01)].map(f64::to_bits), [0x3fe6_2e42_fefa_39ef, 0x4002_6bb1_bbb5_5516, 0x3f84_60d6_ccca_367c]);
    }

    proptest! {
        #[test]
        fn never_more_than_one_unit_from_the_systems_own(bits in 1u64..0x7ff0_0000_0000_0000, near in -0.2f64..0.2) {
            for x in [f64::from_bits(bits), 1.0 + near] {
                prop_assert!(units_apart(one(x), x.ln()) <= 1, "{}: {} is not {}", x, one(x), x.ln());
            }
        }
    }
}
