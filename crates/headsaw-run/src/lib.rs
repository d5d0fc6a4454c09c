//! Runs a cut Transformer for real.
pub mod compute;
pub mod weights;
