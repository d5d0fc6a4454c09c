//! Bit-stable kernels.
