//! Memory that starts at a cache line.

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; Lines::WIDTH]);

/// Bytes that start at a cache line, zero at first.
pub(crate) struct Lines(Box<[Line]>);

impl Lines {
    /// Bytes of a cache line.
    pub(crate) const WIDTH: usize = 64;

    /// At least `bytes` zeros.
    pub(crate) fn new(bytes: usize) -> Lines {
        Lines(vec![Line([0; Lines::WIDTH]); bytes.div_ceil(Lines::WIDTH)].into_boxed_slice())
    }

    /// Number of bytes, whole lines.
    pub(crate) fn len(&self) -> usize {
        self.0.len() * Lines::WIDTH
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: lines are plain bytes without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.len()) }
    }

    /// The bytes, to write.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: lines are plain bytes without padding.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.len()) }
    }

    /// The bytes as numbers.
    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        // SAFETY: aligned to 64 bytes, and every bit pattern is an f32.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.len() / size_of::<f32>()) }
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Lines({} bytes)", self.len())
    }
}
