//! Runs a cut Transformer for real.
pub mod compute;
pub mod tokenizer;
pub mod weights;
