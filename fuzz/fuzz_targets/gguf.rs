//! Any bytes as a GGUF file: opened, every weight read, the tokenizer used.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = headsaw_run::testing::read_all(data.to_vec());
});
