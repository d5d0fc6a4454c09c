//! Functions whose bits are our own, not the platform's libm.

/// Below this `exp` is 0: ln 2⁻¹²⁶, where results would become subnormal.
pub(super) const EXP_CUT: f32 = -87.336_54;
/// Arguments are clamped to this range before they are split, so that the exponent stays in range.
pub(super) const EXP_RANGE: (f32, f32) = (-88.0, 89.0);
/// `1 / ln 2`.
pub(super) const EXP_LOG2E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts; the first has 9 bits, so that its product with an exponent is exact.
pub(super) const EXP_LN2: (f32, f32) = (355.0 / 512.0, -2.121_944_4e-4);
/// Added to a small number and taken away again, this rounds it to the nearest integer, ties to even.
pub(super) const ROUND: f32 = 12_582_912.0;
/// `(eʳ − 1 − r) / r²` for |r| ≤ ln 2 / 2, from the constant up: interpolated at Chebyshev nodes; adds an error below
/// 0.2 units in the last place of `eʳ`.
pub(super) const EXP_POLYNOMIAL: [f32; 5] = [0.5, 0.166_665_76, 0.041_666_556, 0.008_363_203, 0.001_392_621_3];

/// `eˣ`, right to 2 units in the last place; 0 below ln 2⁻¹²⁶, ∞ where it overflows, NaN for NaN.
///
/// Only multiplications and additions in one fixed order, so that it has the same bits everywhere.
pub fn exp(x: f32) -> f32 {
    let clamped = if EXP_RANGE.0 > x { EXP_RANGE.0 } else { x };
    let clamped = if EXP_RANGE.1 < clamped { EXP_RANGE.1 } else { clamped };
    let shifted = clamped * EXP_LOG2E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * EXP_LN2.0) - n * EXP_LN2.1;
    let [c0, c1, c2, c3, c4] = EXP_POLYNOMIAL;
    let p = (((c4 * r + c3) * r + c2) * r + c1) * r + c0;
    let mantissa = 1.0 + (r + (r * r) * p);
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let result = (mantissa * power_of_two(half)) * power_of_two(n.wrapping_sub(half));
    if x < EXP_CUT { 0.0 } else { result }
}

/// `2ⁿ` for the exponents of normal numbers.
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `x · σ(x)`.
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `1 / √(mean square + ε)` of `count` numbers, from the sum of their squares; NaN where that is not finite.
pub fn norm_factor(squares: f32, count: usize, epsilon: f32) -> f32 {
    if squares.is_finite() { 1.0 / (squares / count as f32 + epsilon).sqrt() } else { f32::NAN }
}

/// Sums over the balanced tree of `headsaw::shard`: n values split at ⌈n/2⌉, again and again.
pub fn sum_of_blocks(values: &[f32]) -> f32 {
    match values {
        [] => 0.0,
        [value] => *value,
        _ => {
            let (lower, upper) = values.split_at(values.len().div_ceil(2));
            sum_of_blocks(lower) + sum_of_blocks(upper)
        }
    }
}

/// Adds sixteen values by folding the upper half onto the lower, four times.
pub(super) fn fold(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}
