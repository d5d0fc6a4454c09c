//! Writes a Llama of random weights, to measure with: `cargo run --release --example random -- FILE TYPE`.
//!
//! 16 layers, width 1024, 8 heads of 128 (4 KV heads). TYPE is `Q4_0`, `F16`, …, or `Q4_K_M` for the mix that llama.cpp
//! calls so. llama.cpp reads the file too; what it says is nonsense, in the same time as if it were not.

use headsaw::spec::model::{Dtype, ModelSpec};
use headsaw_run::testing::{q4_k_m, random_mix, random_model, wide_spec};

fn main() -> std::io::Result<()> {
    let usage = "usage: random FILE TYPE";
    let (file, name) = (std::env::args().nth(1).expect(usage), std::env::args().nth(2).expect(usage));
    let spec = ModelSpec { name: format!("random {name}"), context: 2048, ..wide_spec(16) };
    let bytes = match Dtype::ALL.into_iter().find(|dtype| dtype.name() == name) {
        Some(dtype) => random_model(&spec, 1, dtype),
        None if name == "Q4_K_M" => random_mix(&spec, 1, |weight| q4_k_m(&spec, weight)),
        None => panic!("no type `{name}`: expected {} or Q4_K_M", Dtype::ALL.map(Dtype::name).join(", ")),
    };
    std::fs::write(file, bytes)
}
