//! Runs a cut Transformer for real.
pub mod compute;
#[doc(hidden)]
pub mod testing;
pub mod tokenizer;
pub mod weights;
