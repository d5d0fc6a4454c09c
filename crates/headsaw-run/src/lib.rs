//! Runs a cut Transformer for real: weights, bit-stable kernels, lanes, transports.

pub mod calibrate;
pub mod chat;
pub mod compute;
pub mod demo;
mod device;
pub mod generate;
mod lane;
pub mod machine;
mod rope;
pub mod sample;
#[doc(hidden)]
pub mod testing;
pub mod tokenizer;
pub mod transport;
pub mod weights;

pub use lane::{Failure, Fault};
