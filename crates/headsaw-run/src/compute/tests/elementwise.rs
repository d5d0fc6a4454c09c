//! Norms, quantisation, activations and `exp`: right to the unit, and alike in all kernels.

use super::*;
use proptest::prelude::*;

/// Spacing of the f32 around `x`.
fn unit(x: f64) -> f64 {
    let x = x as f32;
    f64::from(f32::from_bits(x.to_bits() + 1)) - f64::from(x)
}

/// Distance from the true `eˣ`, in units in the last place.
fn error(x: f32, got: f32) -> f64 {
    let true_value = f64::from(x).exp();
    (f64::from(got) - true_value).abs() / unit(true_value)
}

#[test]
fn exp_is_right() {
    let step = if cfg!(miri) { 3_000_017 } else { 997 };
    let useful = (0..0x42b1_0000u32).step_by(step).map(f32::from_bits);
    let worst = useful.flat_map(|x| [x, -x]).filter(|&x| x > -87.3).map(|x| error(x, math::exp(x))).fold(0.0, f64::max);
    assert!(worst < 2.0, "{worst} units in the last place");
    assert_eq!(math::exp(0.0), 1.0);
    assert_eq!(math::exp(-0.0), 1.0);
    assert_eq!(math::exp(f32::NEG_INFINITY).to_bits(), 0);
    assert_eq!(math::exp(-90.0).to_bits(), 0);
    assert_eq!(math::exp(f32::MIN).to_bits(), 0);
    assert_eq!(math::exp(88.8), f32::INFINITY);
    assert_eq!(math::exp(f32::INFINITY), f32::INFINITY);
    assert!(math::exp(f32::NAN).is_nan());
}

#[test]
fn sums_of_blocks_follow_the_tree() {
    for n in 0..40u32 {
        let values = Random(n.into()).numbers(n as usize);
        let pieces: Vec<_> = (0..n).map(|i| i..i + 1).collect();
        let mut stack = Vec::new();
        for (value, merges) in values.iter().zip(headsaw::shard::merges(n, &pieces)) {
            stack.push(*value);
            for _ in 0..merges {
                let upper = stack.pop().unwrap();
                *stack.last_mut().unwrap() += upper;
            }
        }
        assert!(stack.len() <= 1);
        assert_eq!(math::sum_of_blocks(&values).to_bits(), stack.pop().unwrap_or(0.0).to_bits());
    }
}

/// Odd numbers that a block may hold: subnormal, huge, halfway between two quants.
fn block(random: &mut Random, n: usize) -> Vec<f32> {
    let mut x = random.numbers(n);
    match random.below(8) {
        0 => x.fill(0.0),
        1 => x.iter_mut().for_each(|x| *x *= 1e-38),
        2 => x.iter_mut().for_each(|x| *x *= 1e-41),
        3 => x.iter_mut().for_each(|x| *x *= 1e33),
        4 => {
            x.iter_mut().for_each(|x| *x = (*x * 100.0).floor() + 0.5);
            x[0] = 127.0;
        }
        _ => {}
    }
    x
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn blocks_are_quantised_alike(seed: u64, n in 1usize..150, float: bool) {
        let mut random = Random(seed);
        let x: Vec<f32> = (0..n).step_by(32).flat_map(|i| block(&mut random, 32.min(n - i))).collect();
        let mut expected = Memory::new(3, n.div_ceil(32) + 2, float);
        reference().quantise(&x, &expected.acts(), 1, 1).unwrap();
        reference().rescale(&expected.acts(), 1, 0.37);
        for kernels in fast() {
            let mut got = Memory::new(3, n.div_ceil(32) + 2, float);
            kernels.quantise(&x, &got.acts(), 1, 1).unwrap();
            kernels.rescale(&got.acts(), 1, 0.37);
            prop_assert_eq!(got.bits(), expected.bits(), "{}", kernels.name());
        }
    }

    #[test]
    fn norms_are_alike(seed: u64, n in 1usize..150, float: bool, bad in prop::option::of(0usize..150)) {
        let mut random = Random(seed);
        let mut x: Vec<f32> = (0..n).step_by(32).flat_map(|i| block(&mut random, 32.min(n - i))).collect();
        let gain = random.numbers(n);
        if let Some(bad) = bad.filter(|&bad| bad < n) {
            x[bad] = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN][random.below(3)];
        }
        let blocks = n.div_ceil(32);
        let (mut expected, mut squares) = (Memory::new(2, blocks, float), vec![0.0; blocks]);
        reference().norm_blocks(&x, &gain, &expected.acts(), 1, 0, &mut squares);
        if let Some(bad) = bad.filter(|&bad| bad < n) {
            prop_assert!(!squares[bad / 32].is_finite());
        }
        for kernels in fast() {
            let (mut got, mut got_squares) = (Memory::new(2, blocks, float), vec![0.0; blocks]);
            kernels.norm_blocks(&x, &gain, &got.acts(), 1, 0, &mut got_squares);
            prop_assert_eq!(bits(&got_squares), bits(&squares), "{}", kernels.name());
            prop_assert_eq!(got.bits(), expected.bits(), "{}", kernels.name());
        }
    }

    #[test]
    fn norms_of_heads_are_alike(seed: u64, n in 1usize..150, bad in prop::option::of(0usize..150)) {
        let mut random = Random(seed);
        let mut x: Vec<f32> = (0..n).step_by(32).flat_map(|i| block(&mut random, 32.min(n - i))).collect();
        let gain = random.numbers(n);
        if let Some(bad) = bad.filter(|&bad| bad < n) {
            x[bad] = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN][random.below(3)];
        }
        let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
        let factor = 1.0 / (squares / n as f64 + 1e-6).sqrt();
        let mut expected = x.clone();
        reference().norm(&mut expected, &gain, 1e-6);
        for ((&y, &x), &gain) in expected.iter().zip(&x).zip(&gain) {
            let right = f64::from(x) * factor * f64::from(gain);
            let close = (f64::from(y) - right).abs() <= 1e-5 * right.abs() + 1e-35;
            prop_assert!(if squares < 1e38 { close } else { y.is_nan() || squares < 1e39 }, "{y} for {right}");
        }
        for kernels in fast() {
            let mut got = x.clone();
            kernels.norm(&mut got, &gain, 1e-6);
            let alike = got.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
            prop_assert!(alike, "{}", kernels.name());
        }
    }

    #[test]
    fn what_is_not_finite_is_found(n in 1usize..100, at: prop::sample::Index, which in 0usize..4, float: bool) {
        let mut x = vec![1.0; n];
        let bad = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN][which];
        x[at.index(n)] = bad;
        for kernels in fast().into_iter().chain([reference()]) {
            let mut memory = Memory::new(1, n.div_ceil(32), float);
            prop_assert_eq!(kernels.quantise(&x, &memory.acts(), 0, 0), Err(NotFinite));
        }
    }

    #[test]
    fn gates_and_rotations_are_alike(seed: u64, n in 1usize..100, size in -3i32..3) {
        let mut random = Random(seed);
        let scaled = |x: Vec<f32>| x.into_iter().map(|x| x * 10f32.powi(size)).collect::<Vec<_>>();
        let (gate, up) = (scaled(random.numbers(n)), scaled(random.numbers(n)));
        let (x, cos, sin) = (random.numbers(2 * n), random.numbers(n), random.numbers(n));
        let (mut gated, mut rotated) = (gate.clone(), x.clone());
        reference().silu_mul(&mut gated, &up);
        reference().rotate(&mut rotated, &cos, &sin);
        for kernels in fast() {
            let (mut got, mut turned) = (gate.clone(), x.clone());
            kernels.silu_mul(&mut got, &up);
            kernels.rotate(&mut turned, &cos, &sin);
            prop_assert_eq!(bits(&got), bits(&gated), "{}", kernels.name());
            prop_assert_eq!(bits(&turned), bits(&rotated), "{}", kernels.name());
        }
    }
}

/// The vector `exp` takes the scalar one's steps over the whole range: `silu(x) = x / (1 + exp(−x))` shows its bits.
#[test]
fn exp_is_alike_everywhere() {
    let step = if cfg!(miri) { 30_000_001 } else { 4_099 };
    let mut x: Vec<f32> = (0..=u32::MAX).step_by(step).map(f32::from_bits).filter(|x| x.is_finite()).collect();
    x.extend([87.336_54, 87.336_55, 87.4, 88.0, 88.72, 88.73, 89.0, 90.0].iter().flat_map(|&x| [x, -x]));
    let up = vec![1.0; x.len()];
    let mut expected = x.clone();
    reference().silu_mul(&mut expected, &up);
    for kernels in fast() {
        let mut got = x.clone();
        kernels.silu_mul(&mut got, &up);
        assert_eq!(bits(&got), bits(&expected), "{}", kernels.name());
    }
}

#[test]
fn quants_lie_within_half_a_step() {
    let x = Random(9).numbers(64);
    let mut memory = Memory::new(1, 2, false);
    cpu(None).unwrap().quantise(&x, &memory.acts(), 0, 0).unwrap();
    for (i, &x) in x.iter().enumerate() {
        let error = (memory.value(0, i / 32, i % 32) - f64::from(x)).abs();
        assert!(error <= f64::from(memory.scales[i / 32]) * 0.500_001, "{error}");
    }
}

/// Ordinary numbers, and ones whose sum lies close to the middle between two f32, cancels, over- or underflows.
#[test]
fn fused_multiply_add_rounds_once() {
    let mut random = Random(5);
    for _ in 0..if cfg!(miri) { 200 } else { 2_000_000 } {
        let any = |random: &mut Random| f32::from_bits(random.next() as u32);
        let (a, b) = (any(&mut random), any(&mut random));
        let near = a * b * [1.0, -1.0, 2f32.powi(24), 2f32.powi(-24)][random.below(4)];
        let c = if random.below(3) == 0 {
            any(&mut random)
        } else {
            f32::from_bits(near.to_bits() ^ random.below(4) as u32)
        };
        let (got, expected) = (cpu::wide_fma(a, b, c), a.mul_add(b, c));
        assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(), "{a} · {b} + {c}: {got}");
    }
}
