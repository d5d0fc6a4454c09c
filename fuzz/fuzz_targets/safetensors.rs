//! Any bytes as a safetensors file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = headsaw_run::testing::read_safetensors(data.to_vec());
});
