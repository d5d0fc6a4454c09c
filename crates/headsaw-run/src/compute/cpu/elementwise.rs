//! What works on each element or block alone: norms, quantising, rotation, the activation function.

use super::super::math;
use super::super::matrix::Matrix;
use super::super::{Acts, BLOCK, NotFinite, PANEL};
use super::pack::{Panels, element};
use super::simd::{Kernel, Simd};

/// Bits of the smallest number that is not finite.
const NOT_FINITE: u32 = 0x7f80_0000;

/// `eˣ` in sixteen lanes; the same steps as [`math::exp`].
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let round = s.splat(math::ROUND);
    let clamped = s.min(s.splat(math::EXP_RANGE.1), s.max(s.splat(math::EXP_RANGE.0), x));
    let shifted = s.add(s.mul(clamped, s.splat(math::EXP_LOG2E)), round);
    let n = s.sub(shifted, round);
    let r = s.sub(clamped, s.mul(n, s.splat(math::EXP_LN2.0)));
    let r = s.sub(r, s.mul(n, s.splat(math::EXP_LN2.1)));
    let mut p = s.splat(math::EXP_POLYNOMIAL[4]);
    for c in [3, 2, 1, 0] {
        p = s.add(s.mul(p, r), s.splat(math::EXP_POLYNOMIAL[c]));
    }
    let mantissa = s.add(s.splat(1.0), s.add(r, s.mul(s.mul(r, r), p)));
    s.zero_below(x, s.splat(math::EXP_CUT), s.scale(mantissa, n, shifted))
}

/// One block of up to 32 numbers, zeros beyond.
#[inline(always)]
fn load_block<S: Simd>(s: S, x: &[f32]) -> [S::F; 2] {
    // SAFETY: as many elements as the slice has.
    unsafe {
        match x.len() {
            BLOCK => [s.load(x.as_ptr()), s.load(x.as_ptr().add(16))],
            16.. => [s.load(x.as_ptr()), s.load_part(x.as_ptr().add(16), x.len() - 16)],
            n => [s.load_part(x.as_ptr(), n), s.splat(0.0)],
        }
    }
}

/// Stores one block; where it is not finite, zeros.
#[inline(always)]
fn store_block<S: Simd>(s: S, x: [S::F; 2], acts: &Acts, token: usize, block: usize) -> Result<(), NotFinite> {
    let largest = s.largest_bits(x[0], x[1]);
    let finite = largest < NOT_FINITE;
    let x = if finite { x } else { [s.splat(0.0); 2] };
    match *acts {
        Acts::Int8 { quants, scales, sums, blocks } => {
            let at = token * blocks + block;
            let mut d = if finite { f32::from_bits(largest) / 127.0 } else { 0.0 };
            let mut inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
            if inverse.is_infinite() {
                (d, inverse) = (0.0, 0.0);
            }
            let factor = s.splat(inverse);
            let to = quants.at(at * BLOCK, BLOCK);
            // SAFETY: in bounds (checked by `at`); the program gives this call this block.
            unsafe {
                let sum = s.store_i8(to, s.mul(x[0], factor)) + s.store_i8(to.add(16), s.mul(x[1], factor));
                scales.set(at, d);
                sums.set(at, sum);
            }
        }
        Acts::Float { values, blocks } => {
            let to = values.at((token * blocks + block) * BLOCK, BLOCK);
            // SAFETY: as above.
            unsafe {
                s.store(to, x[0]);
                s.store(to.add(16), x[1]);
            }
        }
    }
    if finite { Ok(()) } else { Err(NotFinite) }
}

/// See [`super::super::Compute::norm_blocks`].
pub(super) struct NormBlocks<'a> {
    pub(super) x: &'a [f32],
    pub(super) gain: &'a [f32],
    pub(super) acts: &'a Acts<'a>,
    pub(super) token: usize,
    pub(super) first_block: usize,
    pub(super) squares: &'a mut [f32],
}

impl Kernel for NormBlocks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.x.len(), self.gain.len(), "one gain for each element");
        assert_eq!(self.x.len().div_ceil(BLOCK), self.squares.len(), "one sum of squares for each block");
        let blocks = self.x.chunks(BLOCK).zip(self.gain.chunks(BLOCK)).zip(self.squares);
        for (i, ((x, gain), square)) in blocks.enumerate() {
            let (x, gain) = (load_block(s, x), load_block(s, gain));
            let y = [s.mul(x[0], gain[0]), s.mul(x[1], gain[1])];
            let finite = store_block(s, y, self.acts, self.token, self.first_block + i);
            let sum = s.fold(s.add(s.mul(x[0], x[0]), s.mul(x[1], x[1])));
            *square = if finite.is_ok() { sum } else { f32::NAN };
        }
    }
}

/// See [`super::super::Compute::norm`].
pub(super) struct Norm<'a> {
    pub(super) x: &'a mut [f32],
    pub(super) gain: &'a [f32],
    pub(super) epsilon: f32,
}

impl Kernel for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.x.len(), self.gain.len(), "one gain for each element");
        let mut sum = 0.0;
        for x in self.x.chunks(BLOCK) {
            let x = load_block(s, x);
            sum += s.fold(s.add(s.mul(x[0], x[0]), s.mul(x[1], x[1])));
        }
        let factor = s.splat(math::norm_factor(sum, self.x.len(), self.epsilon));
        for (x, gain) in self.x.chunks_mut(16).zip(self.gain.chunks(16)) {
            let n = x.len();
            // SAFETY: as many elements as the slices have.
            unsafe {
                let y = s.mul(s.mul(s.load_part(x.as_ptr(), n), factor), s.load_part(gain.as_ptr(), n));
                s.store_part(x.as_mut_ptr(), n, y);
            }
        }
    }
}

/// See [`super::super::Compute::quantise`].
pub(super) struct Quantise<'a> {
    pub(super) x: &'a [f32],
    pub(super) acts: &'a Acts<'a>,
    pub(super) token: usize,
    pub(super) first_block: usize,
}

impl Kernel for Quantise<'_> {
    type Output = Result<(), NotFinite>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let mut result = Ok(());
        for (i, x) in self.x.chunks(BLOCK).enumerate() {
            let x = load_block(s, x);
            result = result.and(store_block(s, x, self.acts, self.token, self.first_block + i));
        }
        result
    }
}

/// See [`super::super::Compute::rescale`].
pub(super) fn rescale(acts: &Acts, token: usize, factor: f32) {
    let (values, n) = match *acts {
        Acts::Int8 { scales, blocks, .. } => (scales, blocks),
        Acts::Float { values, blocks } => (values, blocks * BLOCK),
    };
    // SAFETY: the program gives this call the token's activations.
    for value in unsafe { values.slice_mut(token * n..(token + 1) * n) } {
        *value *= factor;
    }
}

/// See [`super::super::Compute::silu_mul`].
pub(super) struct SiluMul<'a> {
    pub(super) gate: &'a mut [f32],
    pub(super) up: &'a [f32],
}

impl Kernel for SiluMul<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.gate.len(), self.up.len(), "a gate for each element");
        for (gate, up) in self.gate.chunks_mut(16).zip(self.up.chunks(16)) {
            // SAFETY: as many elements as the slices have.
            unsafe {
                if let 16 = gate.len() {
                    let y = silu_mul(s, s.load(gate.as_ptr()), s.load(up.as_ptr()));
                    s.store(gate.as_mut_ptr(), y);
                } else {
                    let n = gate.len();
                    let y = silu_mul(s, s.load_part(gate.as_ptr(), n), s.load_part(up.as_ptr(), n));
                    s.store_part(gate.as_mut_ptr(), n, y);
                }
            }
        }
    }
}

#[inline(always)]
fn silu_mul<S: Simd>(s: S, x: S::F, up: S::F) -> S::F {
    // −x by its sign alone, as the scalar function does.
    let negative = s.mul(x, s.splat(-1.0));
    s.mul(s.div(x, s.add(s.splat(1.0), exp(s, negative))), up)
}

/// See [`super::super::Compute::rotate`].
pub(super) struct Rotate<'a> {
    pub(super) x: &'a mut [f32],
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
}

impl Kernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        assert!(self.x.len() == 2 * self.cos.len() && self.x.len() == 2 * self.sin.len(), "an angle for each pair");
        for ((pair, &cos), &sin) in self.x.chunks_exact_mut(2).zip(self.cos).zip(self.sin) {
            let [a, b] = [pair[0], pair[1]];
            pair[0] = a * cos - b * sin;
            pair[1] = a * sin + b * cos;
        }
    }
}

/// See [`super::super::Compute::embed`].
pub(super) fn embed(m: &Matrix, packed: &Panels, row: usize, out: &mut [f32]) {
    assert!(row < m.rows, "row {row} of {}", m.rows);
    let (heads, segments) = packed.panel(row / PANEL);
    let mut out = out.iter_mut();
    for (segment, bytes) in packed.segments.iter().zip(segments.chunks_exact(packed.segment)) {
        for column in segment.at..segment.at + segment.width {
            *out.next().expect("room for all columns") =
                element(m.dtype, &heads[segment.head..], bytes, row % PANEL, column);
        }
    }
}
