//! Files that broke other readers, each rebuilt from its report, and what our reader says instead.

use crate::mutate::{hf_seed, tiny_spec};
use crate::{read_all, watch};
use headsaw::spec::model::{Dtype, Family};
use headsaw_run::testing::{GgufBuilder, random_model};

/// The file is refused, and the message has all of `words`.
fn refused(name: &str, file: &[u8], words: &[&str]) {
    let dir = watch::Folder::new(name);
    let path = dir.path("model.gguf");
    std::fs::write(&path, file).expect("writes");
    let message = watch::guarded(&path, read_all).expect_err("it is refused");
    for word in words {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
    assert!(message.contains("model.gguf"), "the file is named in: {message}");
}

/// A header with counts and nothing more.
fn header(tensors: u64, keys: u64) -> Vec<u8> {
    [b"GGUF", &3u32.to_le_bytes()[..], &tensors.to_le_bytes(), &keys.to_le_bytes()].concat()
}

fn with(build: impl FnOnce(&mut GgufBuilder)) -> Vec<u8> {
    let mut file = GgufBuilder::default();
    file.text("general.architecture", "llama");
    build(&mut file);
    file.build()
}

/// A sound model in which `from` stands once and becomes `to`, of equal length.
fn patched(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut file = random_model(&tiny_spec(Family::Llama), 1, Dtype::F16);
    let at = file.windows(from.len()).position(|w| w == from).expect("it stands there");
    file[at..at + to.len()].copy_from_slice(to);
    file
}

/// llama.cpp before b7824: the size of a tensor overflows, its memory is too small.
#[test]
fn cve_2026_33298_tensor_size_overflows() {
    let file = with(|f| f.tensor_at("token_embd.weight", &[1 << 31, 1 << 31, 2], 0, 0));
    refused("cve_2026_33298", &file, &["`token_embd.weight`", "shape [2147483648, 2147483648, 2]", "2^60"]);
}

/// llama.cpp: the sum of tensor sizes overflows in `gguf_init_from_file_impl`.
#[test]
fn cve_2025_53630_sum_of_sizes_overflows() {
    let file = with(|f| (0..8).for_each(|i| f.tensor_at(&format!("t{i}"), &[1 << 59], 0, i << 61)));
    refused("cve_2025_53630", &file, &["`t0`", "2305843009213693952 bytes", "to end within"]);
}

/// llama.cpp before b8146: the check of CVE-2025-53630 was passed by padding that overflows.
#[test]
fn cve_2026_27940_padding_overflows() {
    let file = with(|f| f.tensor_at("t", &[1], 0, u64::MAX - 31));
    refused("cve_2026_27940", &file, &["`t`", "4 bytes from 18446744073709551584 on", "to end within"]);
}

/// Ollama: a tensor is declared larger than the file, and memory beyond it leaks.
#[test]
fn cve_2026_7482_declared_shape_beyond_data() {
    let file = with(|f| f.tensor_at("token_embd.weight", &[64, 1 << 20], 0, 0));
    refused("cve_2026_7482", &file, &["`token_embd.weight`", "268435456 bytes", "bytes of data that the file has"]);
}

/// Ollama: the length of a string is believed.
#[test]
fn cve_2025_66960_string_length() {
    let file = [header(0, 1), (1u64 << 40).to_le_bytes().to_vec(), vec![b'a'; 64]].concat();
    refused("cve_2025_66960", &file, &["byte 24", "key of 1099511627776 bytes", "at most 65535"]);
}

/// llama.cpp, `info->ne`: more dimensions than the array has.
#[test]
fn cve_2024_21802_too_many_dimensions() {
    let file = with(|f| f.tensor_at("t", &[1; 5], 0, 0));
    refused("cve_2024_21802", &file, &["5 dimensions of tensor `t`", "1 to 4"]);
}

/// llama.cpp: number of array elements × their size overflows.
#[test]
fn cve_2024_21825_array_size_overflows() {
    let file = with(|f| f.array("a", 12, (1 << 61) + 1, &[0; 64]));
    refused("cve_2024_21825", &file, &["array of key `a` with 2305843009213693953 elements", "by the file's size"]);
    let file = with(|f| f.array("a", 8, 1 << 60, &[0; 64]));
    refused("cve_2024_21825", &file, &["array of key `a` with 1152921504606846976 elements"]);
}

/// llama.cpp: the tensor count × the size of a description overflows.
#[test]
fn cve_2024_21836_tensor_count() {
    refused("cve_2024_21836", &header(1 << 59, 0), &["byte 8", "tensor count 576460752303423488", "at most 0"]);
}

/// llama.cpp: a string's length + 1 overflows.
#[test]
fn cve_2024_23496_string_length_overflows() {
    let file = with(|f| f.raw("k", 8, &u64::MAX.to_le_bytes()));
    refused("cve_2024_23496", &file, &["string of key `k` of 18446744073709551615 bytes", "at most 16777216"]);
}

/// llama.cpp: the key count × the size of a key overflows.
#[test]
fn cve_2024_23605_key_count() {
    refused("cve_2024_23605", &header(0, 1 << 59), &["byte 16", "key count 576460752303423488", "at most 0"]);
}

/// llama.cpp: a file that ends among its keys leaves them uninitialised.
#[test]
fn cve_2024_32878_ends_among_keys() {
    let file = with(|f| f.u32("llama.block_count", 1));
    let file = [header(0, 3), file[24..70].to_vec()].concat();
    refused("cve_2024_32878", &file, &["byte ", "bytes left in the file"]);
}

/// llama.cpp: a header without keys and tensors leaves null pointers.
#[test]
fn cve_2024_41130_empty_header() {
    refused("cve_2024_41130", &header(0, 0), &["key `general.architecture`", "missing", "llama"]);
}

/// llama.cpp: a piece of the vocabulary longer than an `int`.
#[test]
fn cve_2025_49847_long_piece() {
    let longer = [&(1u64 << 31).to_le_bytes()[..], b"<|endoftext|>"].concat();
    let sound = [&13u64.to_le_bytes()[..], b"<|endoftext|>"].concat();
    refused("cve_2025_49847", &patched(&sound, &longer), &["string of 2147483648 bytes", "tokenizer.ggml.tokens"]);
}

/// llama.cpp pull request 19856: a string as long as memory.
#[test]
fn llama_cpp_19856_string_exhaustion() {
    let file = with(|f| f.raw("k", 8, &(1u64 << 44).to_le_bytes()));
    refused("llama_cpp_19856", &file, &["string of key `k` of 17592186044416 bytes"]);
}

/// llama.cpp pull request 19856: an array as long as memory.
#[test]
fn llama_cpp_19856_array_exhaustion() {
    let file = with(|f| f.array("k", 0, 1 << 44, &[]));
    refused("llama_cpp_19856", &file, &["array of key `k` with 17592186044416 elements"]);
}

/// llama.cpp pull request 19856: a negative type of value, of element, of tensor.
#[test]
fn llama_cpp_19856_negative_type() {
    let file = with(|f| f.raw("k", u32::MAX, &[]));
    refused("llama_cpp_19856", &file, &["value type 4294967295 of key `k`", "0 to 12"]);
    let file = with(|f| f.array("k", u32::MAX, 1, &[0; 8]));
    refused("llama_cpp_19856", &file, &["element type 4294967295 in array of key `k`", "0 to 12"]);
    let file = with(|f| f.tensor_at("t", &[32], u32::MAX, 0));
    refused("llama_cpp_19856", &file, &["tensor `t`", "number 4294967295", "F32, F16, BF16, Q8_0, Q6_K"]);
}

/// Types that no kernel multiplies with: all of them are named, and what runs.
#[test]
fn types_that_do_not_run() {
    let file =
        with(|f| [10, 11, 23].into_iter().for_each(|kind| f.tensor(&format!("t{kind}"), &[256], kind, vec![0; 64])));
    let runs = "F32, F16, BF16, Q8_0, Q6_K, Q5_1, Q5_K, Q5_0, Q4_1, Q4_K or Q4_0";
    refused("types", &file, &["`t10`: type Q2_K", "`t11`: type Q3_K", "`t23`: type IQ4_XS", runs, "llama-quantize"]);
}

/// Rows that end inside a block of 256, and blocks beyond the end of the file.
#[test]
fn blocks_of_256_are_whole() {
    for (kind, name) in [(12, "Q4_K"), (13, "Q5_K"), (14, "Q6_K")] {
        let file = with(|f| f.tensor("t", &[320], kind, vec![0; 512]));
        let rows = format!("rows of 320 numbers in {name}");
        refused("blocks", &file, &["tensor `t`", &rows, "whole blocks of 256 (blocks of Q4_0, Q5_0 and Q8_0 are 32)"]);
        let file = with(|f| f.tensor_at("t", &[256, 1 << 20], kind, 0));
        refused("blocks", &file, &["tensor `t`", "bytes from 0 on", "to end within the"]);
    }
    for kind in [2, 6, 7] {
        let file = with(|f| f.tensor("t", &[48], kind, vec![0; 64]));
        refused("blocks", &file, &["tensor `t`", "rows of 48 numbers", "whole blocks of 32"]);
    }
}

/// llama.cpp pull request 19856: an alignment that is no power of two.
#[test]
fn llama_cpp_19856_alignment() {
    let file = with(|f| f.u32("general.alignment", 24));
    refused("llama_cpp_19856", &file, &["key `general.alignment`", "24", "a power of two"]);
}

/// llama.cpp pull request 19856: a key, or a tensor, twice.
#[test]
fn llama_cpp_19856_duplicates() {
    let file = with(|f| f.text("general.architecture", "qwen2"));
    refused("llama_cpp_19856", &file, &["key `general.architecture` a second time", "each key once"]);
    let file = with(|f| (0..2).for_each(|_| f.tensor("t", &[4], 0, vec![0; 16])));
    refused("llama_cpp_19856", &file, &["tensor `t`", "described twice"]);
}

/// Two tensors share bytes.
#[test]
fn overlapping_tensors() {
    let file = with(|f| {
        f.tensor("a", &[16], 0, vec![0; 64]);
        f.tensor_at("b", &[8], 0, 32);
    });
    refused("overlap", &file, &["tensor `b`", "overlaps those of `a`"]);
}

/// The Python reader of GGUF: arrays of arrays of arrays exhaust the stack.
#[test]
fn gguf_python_nested_arrays() {
    let level = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat();
    let file = with(|f| f.array("k", 9, 1, &level.repeat(100_000)));
    refused("nested", &file, &["array of key `k` nested 5 deep", "at most 4 levels"]);
}

/// candle: a string of 2^32 bytes is allocated before it is read.
#[test]
fn candle_string_length() {
    let file = with(|f| f.raw("k", 8, &(1u64 << 32).to_le_bytes()));
    refused("candle_string", &file, &["string of key `k` of 4294967296 bytes"]);
}

/// candle: an alignment of zero, in 57 bytes, divides by it.
#[test]
fn candle_alignment_zero() {
    let mut file = GgufBuilder::default();
    file.u32("general.alignment", 0);
    let file = &file.build()[..57];
    refused("candle_alignment", file, &["key `general.alignment`", "0", "a power of two"]);
}

/// candle: a shape whose product is 2^80.
#[test]
fn candle_shape_product() {
    let file = with(|f| f.tensor_at("t", &[1 << 40, 1 << 40], 0, 0));
    refused("candle_shape", &file, &["tensor `t`", "shape [1099511627776, 1099511627776]"]);
}

/// llama.cpp GHSA-7rxv-5jhh-j6xx: the number of tokens overflows; a long text must only take its time.
#[test]
fn ghsa_7rxv_5jhh_j6xx_long_text() {
    let model =
        headsaw_run::weights::ModelFile::from_bytes(random_model(&tiny_spec(Family::Llama), 1, Dtype::F16).leak());
    let tokenizer = headsaw_run::tokenizer::Tokenizer::from_model(&model.expect("opens")).expect("a tokenizer");
    for text in ["ae", " ", "é", "1\n", "<|endoftext|>", "<|endoftex"] {
        let text = text.repeat(100_000);
        let ids = tokenizer.encode(&text, true).expect("encodes");
        assert!(ids.len() <= text.len() && ids.len() >= 100_000 / 2);
    }
}

/// CVE-2024-34359 (llama-cpp-python): a template that runs code. The reader hands it out as text and runs nothing.
#[test]
fn cve_2024_34359_template_is_only_text() {
    let template = "{{ ''.__class__.__mro__[1].__subclasses__() }}";
    let dir = hf_seed("template");
    std::fs::write(dir.path("chat_template.jinja"), template).expect("writes");
    let model = headsaw_run::weights::ModelFile::open(&dir.0).expect("opens");
    let tokenizer = headsaw_run::tokenizer::Tokenizer::from_model(&model).expect("a tokenizer");
    assert_eq!(tokenizer.chat_template(), Some(template));
}

/// Shapes that no model has.
#[test]
fn absurd_shapes() {
    for (key, value, words) in [
        ("attention.head_count", 0u32, "heads is 0"),
        ("attention.head_count_kv", 3, "2 heads share 3 KV heads"),
        ("attention.head_count_kv", 0, "kv_heads is 0"),
        ("block_count", 10_001, "layers is 10001"),
        ("block_count", 0, "layers is 0"),
        ("attention.key_length", 5, "`llama.attention.value_length` is 4; expected the head width 5"),
        ("context_length", 0, "context is 0"),
        ("context_length", u32::MAX, "context is 4294967295"),
        ("feed_forward_length", u32::MAX, "ffn is 4294967295"),
        ("embedding_length", u32::MAX, "width is 4294967295"),
        ("attention.layer_norm_rms_epsilon", f32::NAN.to_bits(), "norm_epsilon is NaN"),
        ("attention.layer_norm_rms_epsilon", (-1f32).to_bits(), "norm_epsilon is -1"),
        ("rope.freq_base", 0f32.to_bits(), "rope theta is 0"),
        ("rope.freq_base", f32::INFINITY.to_bits(), "rope theta is inf"),
    ] {
        let mut file = random_model(&tiny_spec(Family::Llama), 1, Dtype::F16);
        let key = format!("llama.{key}");
        let key = [&(key.len() as u64).to_le_bytes()[..], key.as_bytes()].concat();
        let at = file.windows(key.len()).position(|w| w == key).expect("the key") + key.len() + 4;
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        refused("absurd", &file, &[words]);
    }
}

/// The safetensors file of a sound folder is replaced; the folder is refused.
fn refused_folder(name: &str, file: &[u8], words: &[&str]) {
    refused_file(name, "model.safetensors", file, words);
}

fn refused_file(name: &str, inside: &str, file: &[u8], words: &[&str]) {
    let message = refusal(name, inside, file);
    for word in words.iter().chain([&inside]) {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
}

fn refusal(name: &str, inside: &str, file: &[u8]) -> String {
    let dir = hf_seed(name);
    std::fs::write(dir.path(inside), file).expect("writes");
    watch::guarded(&dir.0, read_all).expect_err("it is refused")
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn safetensors_header_length() {
    refused_folder("length", &u64::MAX.to_le_bytes(), &["byte 0", "18446744073709551615", "at most 100000000"]);
    refused_folder(
        "length",
        &[0x40, 0x42, 0xF, 0, 0, 0, 0, 0, b'{'],
        &["byte 8", "header of 1000000 bytes", "left in the file"],
    );
    refused_folder("length", b"abc", &["byte 0", "header length"]);
}

/// Reports of headers with a hundred thousand entries and more.
#[test]
fn safetensors_header_bloat() {
    let entry = |i: u32| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
    let entries: Vec<String> = (0..140_000).map(entry).collect();
    refused_folder("bloat", &safetensors(&format!("{{{}}}", entries.join(",")), 0), &["more than 131072 tensors"]);
    let shape = vec!["1"; 1_000_000].join(",");
    let wide = format!(r#"{{"w":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,4]}}}}"#);
    refused_folder("bloat", &safetensors(&wide, 4), &["`w`", "more than 8 dimensions"]);
    let metadata = format!(r#"{{"__metadata__":{{"x":"{}"}}}}"#, "y".repeat(20 << 20));
    let message = refusal("bloat", "model.safetensors", &safetensors(&metadata, 0));
    assert!(message.contains("tensor `model.embed_tokens.weight` is missing"), "{message}");
}

#[test]
fn safetensors_offsets() {
    let one =
        |shape: &str, offsets: &str| format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    let cases = [
        (one("[2]", "[4,12]"), 12, "data from byte 4 on"),
        (one("[2]", "[0,4]"), 4, "data_offsets [0, 4] for F32 [2]; expected 8 bytes"),
        (one("[2]", "[8,0]"), 8, "data from byte 8 on"),
        (one("[4294967296,4294967296]", "[0,0]"), 0, "a shape that fits into memory"),
        (one("[2]", "[0,8]"), 4, "data up to byte 8; expected at most 4"),
        (one("[2]", "[0,8]"), 12, "4 bytes after the last tensor"),
        (one("[2]", "[0,8]").replace("F32", "F8_E4M3"), 8, "type F8_E4M3; expected F32, F16 or BF16"),
        (one("[-1]", "[0,8]"), 8, "tensor `w`"),
        (
            r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.into(),
            4,
            "data from byte 0 on; expected byte 4",
        ),
        (
            r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.into(),
            8,
            "`w`: described twice",
        ),
    ];
    for (header, data, words) in cases {
        refused_folder("offsets", &safetensors(&header, data), &[words]);
    }
}

#[test]
fn index_with_a_way_out_of_the_folder() {
    for name in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "c:x", "..", "", "a\\\\b"] {
        let dir = hf_seed("way-out");
        std::fs::remove_file(dir.path("model.safetensors")).expect("removes");
        let index = format!(r#"{{"weight_map":{{"w":"{name}"}}}}"#);
        std::fs::write(dir.path("model.safetensors.index.json"), index).expect("writes");
        let message = watch::guarded(&dir.0, read_all).expect_err("it is refused");
        assert!(message.contains("is no plain file name") && message.contains("`weight_map`"), "{message}");
    }
}

#[test]
fn tokenizer_json_bloat() {
    let many = vec!["[]"; 2_000_000].join(",");
    let part = format!(r#"{{"pre_tokenizer":[{many}],"model":{{"vocab":{{}},"merges":[]}}}}"#);
    refused_file("tokenizer-bloat", "tokenizer.json", part.as_bytes(), &["key `pre_tokenizer`", "at most 65536"]);
    let far = r#"{"model":{"vocab":{"a":4294967295},"merges":[]},"decoder":{"type":"ByteLevel"}}"#;
    refused_file("tokenizer-bloat", "tokenizer.json", far.as_bytes(), &["key `model.vocab`", "token 4294967295"]);
    let pieces: Vec<String> = (0..1_100_000).map(|i| format!(r#""{i}":{i}"#)).collect();
    let wide =
        format!(r#"{{"model":{{"vocab":{{{}}},"merges":[]}},"decoder":{{"type":"ByteLevel"}}}}"#, pieces.join(","));
    refused_file("tokenizer-bloat", "tokenizer.json", wide.as_bytes(), &["more than 1048576 entries"]);
    let deep = ["[", "]"].map(|bracket| bracket.repeat(1_000_000)).concat();
    let deep = format!(r#"{{"unknown":{deep},"model":{{"vocab":{{}},"merges":{deep}}}}}"#);
    refused_file("tokenizer-bloat", "tokenizer.json", deep.as_bytes(), &["line 1 column 2000044"]);
    let deep = ["[", "]"].map(|bracket| bracket.repeat(200)).concat();
    let deep = format!(r#"{{"model":{{"vocab":{{}},"merges":[]}},"decoder":{deep}}}"#);
    refused_file("tokenizer-bloat", "tokenizer.json", deep.as_bytes(), &["key `decoder`", "recursion limit"]);
}

/// A pattern that takes exponential time or memory.
#[test]
fn tokenizer_json_patterns() {
    let with = |regex: &str| {
        let pattern =
            format!(r#"{{"type":"Split","pattern":{{"Regex":"{regex}"}},"behavior":"Isolated","invert":false}}"#);
        format!(
            r#"{{"model":{{"vocab":{{"a":0}},"merges":[]}},"decoder":{{"type":"ByteLevel"}},"pre_tokenizer":{pattern}}}"#
        )
    };
    for regex in [r"\\w{1000}{1000}", r"(?:\\p{L}{200}){200}(?=x)", "(((((", r"(a|b)\\99"] {
        refused_file("patterns", "tokenizer.json", with(regex).as_bytes(), &["pattern"]);
    }
    let long = with(&"a".repeat(5000));
    refused_file("patterns", "tokenizer.json", long.as_bytes(), &["a pattern of 5000 bytes"]);
}
