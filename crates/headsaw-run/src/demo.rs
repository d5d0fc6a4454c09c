//! The embedded model: a small Llama with 8 heads, trained on public-domain text (see `assets/train/`).

use crate::weights::{Error, ModelFile};

/// The GGUF file, as it was trained.
pub static MODEL: &[u8] = include_bytes!("../assets/demo.gguf");

/// Opens the embedded model.
///
/// # Errors
/// None, unless the binary itself is damaged.
pub fn model() -> Result<ModelFile, Error> {
    ModelFile::from_bytes(MODEL)
}
