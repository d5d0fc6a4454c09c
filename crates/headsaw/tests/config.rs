//! Shapes out of `config.json` files as models have them, and what is said of those that do not run.

use headsaw::spec::model::{Dtype, Family, ModelSpec, Rope, RopeScaling};

fn read(json: &str) -> ModelSpec {
    ModelSpec::from_hf_config("m", json).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(json: &str, words: &[&str]) {
    let message = ModelSpec::from_hf_config("m", json).expect_err("it is refused").to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
}

/// A sound config with `more` keys; the later of two equal keys counts.
fn with(more: &str) -> String {
    format!(
        r#"{{"architectures":["LlamaForCausalLM"],"hidden_size":64,"intermediate_size":96,"num_attention_heads":4,
        "num_hidden_layers":2,"vocab_size":100{}{more}}}"#,
        if more.is_empty() { "" } else { "," }
    )
}

#[test]
fn defaults() {
    let spec = read(&with(""));
    let expected = ModelSpec {
        name: "m".into(),
        family: Family::Llama,
        layers: 2,
        width: 64,
        heads: 4,
        kv_heads: 4,
        head_width: 16,
        ffn: 96,
        vocab: 100,
        context: 2048,
        norm_epsilon: 1e-6,
        rope: Some(Rope { theta: 10_000.0, scaling: None }),
        tied: false,
        dtype: Dtype::F32,
        mixed: vec![],
    };
    assert_eq!(spec, expected);
    assert_eq!(
        read(&with(r#""num_key_value_heads":null,"head_dim":null,"rope_scaling":null,"torch_dtype":null"#)),
        expected
    );
}

#[test]
fn llama3_scaling_in_both_spellings() {
    let numbers =
        r#""factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192"#;
    let old = read(&with(&format!(r#""rope_theta":500000.0,"rope_scaling":{{"rope_type":"llama3",{numbers}}}"#)));
    let new = read(&with(&format!(r#""rope_parameters":{{"rope_type":"llama3","rope_theta":500000.0,{numbers}}}"#)));
    let scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
    assert_eq!(old.rope, Some(Rope { theta: 500_000.0, scaling: Some(scaling) }));
    assert_eq!(old.rope, new.rope);
    let linear = read(&with(r#""rope_scaling":{"type":"linear","factor":2}"#));
    assert_eq!(linear.rope.and_then(|r| r.scaling), Some(RopeScaling::Linear { factor: 2.0 }));
    assert_eq!(linear.rope.map(|r| r.divisors(16)), Some(vec![2.0; 8]));
}

/// The first and last divisors and one between, by the formula of `transformers`, worked out by hand.
#[test]
fn llama3_divisors() {
    let scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
    let divisors = Rope { theta: 500_000.0, scaling: Some(scaling) }.divisors(128);
    assert_eq!((divisors[0], divisors[63]), (1.0, 8.0));
    let between: Vec<f32> = divisors.iter().copied().filter(|d| *d > 1.0 && *d < 8.0).collect();
    assert!(!between.is_empty() && between.is_sorted(), "{between:?}");
    let wavelength = std::f64::consts::TAU * 500_000f64.powf(2.0 * 30.0 / 128.0);
    let smooth = (8192.0 / wavelength - 1.0) / 3.0;
    assert!((f64::from(divisors[30]) - 1.0 / ((1.0 - smooth) / 8.0 + smooth)).abs() < 1e-5);
}

#[test]
fn a_sliding_window_caps_the_context() {
    let mistral = r#""model_type":"mistral","max_position_embeddings":32768,"sliding_window":4096"#;
    assert_eq!(read(&with(mistral)).context, 4096);
    assert_eq!(read(&with(r#""max_position_embeddings":32768,"sliding_window":null"#)).context, 32_768);
    let qwen = r#""model_type":"qwen2","max_position_embeddings":32768,"sliding_window":4096"#;
    assert_eq!(read(&with(qwen)).context, 32_768);
    assert_eq!(read(&with(&format!(r#"{qwen},"use_sliding_window":true"#))).context, 4096);
}

#[test]
fn qwen3_has_heads_of_its_own_width() {
    let config = with(
        r#""architectures":["Qwen3ForCausalLM"],"head_dim":32,"use_sliding_window":false,
        "sliding_window":null,"layer_types":["full_attention","full_attention"]"#,
    );
    let spec = read(&config);
    assert_eq!((spec.family, spec.head_width, spec.width, spec.context), (Family::Qwen3, 32, 64, 32_768));
    assert_eq!(read(&with(r#""architectures":null,"model_type":"qwen3","head_dim":32"#)).family, Family::Qwen3);
}

#[test]
fn other_architectures_are_named() {
    refused(
        &with(r#""architectures":["GPT2LMHeadModel"]"#),
        &["GPT2LMHeadModel", "LlamaForCausalLM", "Qwen2ForCausalLM"],
    );
    refused(&with(r#""architectures":[],"model_type":"phi3""#), &["phi3", "MistralForCausalLM"]);
    assert_eq!(read(&with(r#""architectures":null,"model_type":"qwen2""#)).family, Family::Qwen2);
}

#[test]
fn what_changes_results_is_refused() {
    for (key, word) in [
        (r#""attention_bias":true"#, "attention_bias"),
        (r#""mlp_bias":true"#, "mlp_bias"),
        (r#""hidden_act":"gelu""#, "\"gelu\"; expected silu"),
        (r#""quantization_config":{"quant_method":"awq"}"#, "\"awq\"; expected none"),
        (r#""partial_rotary_factor":0.5"#, "partial_rotary_factor"),
        (r#""rope_scaling":{"rope_type":"yarn","factor":4}"#, "\"yarn\"; expected default, linear or llama3"),
        (r#""rope_scaling":{"factor":4}"#, "\"missing\"; expected default"),
        (r#""torch_dtype":"float8_e4m3fn""#, "float32, float16 or bfloat16"),
    ] {
        refused(&with(key), &[word]);
    }
}

#[test]
fn all_problems_at_once() {
    refused(
        r#"{"architectures":["LlamaForCausalLM"],"hidden_size":-1,"num_attention_heads":"x","vocab_size":1.5}"#,
        &[
            "`hidden_size` is -1",
            "`num_attention_heads` is \"x\"",
            "`vocab_size` is 1.5",
            "`num_hidden_layers` is missing",
        ],
    );
    refused(&with(r#""num_attention_heads":3"#), &["`hidden_size` is 64, no multiple of 3 heads"]);
    refused(&with(r#""num_key_value_heads":3"#), &["4 heads share 3 KV heads"]);
    refused(
        &with(r#""head_dim":15,"rms_norm_eps":-1,"rope_theta":0"#),
        &["head_width is 15", "norm_epsilon", "rope theta"],
    );
    refused(&with(r#""num_hidden_layers":10001,"vocab_size":0"#), &["layers is 10001", "vocab is 0"]);
    refused("[]", &["expected an object"]);
    refused("{", &["not JSON", "line 1"]);
}
