//! How many parameters a model has, and how large its KV cache grows: closed forms over a [`ModelSpec`].

use super::model::{Family, ModelSpec};
use crate::units::Bytes;

impl ModelSpec {
    /// All parameters: the layers, the embedding, learned positions (GPT), the last norm, and the output matrix unless
    /// it is [tied](ModelSpec::tied).
    ///
    /// ```
    /// # use headsaw::spec::presets;
    /// assert_eq!(presets::find("llama-2-7b").unwrap().parameters(), 6_738_415_616);
    /// ```
    pub fn parameters(&self) -> u64 {
        let matrix = u64::from(self.vocab) * u64::from(self.width);
        let tables = if self.tied { matrix } else { 2 * matrix };
        u64::from(self.layers) * self.layer_parameters() + tables + self.position_parameters() + self.norm_parameters()
    }

    /// Parameters of one layer: attention, MLP and the two norms before them, biases included.
    pub fn layer_parameters(&self) -> u64 {
        self.attention_parameters() + self.mlp_parameters() + 2 * self.norm_parameters()
    }

    /// Parameters of one layer's attention: Q, K, V and output projections `[H·D, C]`, `[K·D, C]` twice, `[C, H·D]`,
    /// with what the family adds: biases (Qwen2: Q, K, V; GPT: all four) or norms of a head's Q and K (Qwen3).
    pub fn attention_parameters(&self) -> u64 {
        let width = u64::from(self.width);
        let head_width = u64::from(self.head_width);
        let q_rows = u64::from(self.heads) * head_width;
        let kv_rows = u64::from(self.kv_heads) * head_width;
        let extra = match self.family {
            Family::Llama => 0,
            Family::Qwen2 => q_rows + 2 * kv_rows,
            Family::Qwen3 => 2 * head_width,
            Family::Gpt => q_rows + 2 * kv_rows + width,
        };
        2 * width * (q_rows + kv_rows) + extra
    }

    /// Parameters of one layer's MLP: gate, up and down `[F, C]`, or for GPT up and down with biases.
    pub fn mlp_parameters(&self) -> u64 {
        let (width, ffn) = (u64::from(self.width), u64::from(self.ffn));
        match self.family {
            Family::Llama | Family::Qwen2 | Family::Qwen3 => 3 * width * ffn,
            Family::Gpt => 2 * width * ffn + ffn + width,
        }
    }

    /// Parameters of one norm: a gain for each of the `C` elements, and for a layer norm (GPT) a bias too.
    pub fn norm_parameters(&self) -> u64 {
        match self.family {
            Family::Llama | Family::Qwen2 | Family::Qwen3 => u64::from(self.width),
            Family::Gpt => 2 * u64::from(self.width),
        }
    }

    /// Parameters of the learned positions, `[context, C]`; none where positions are rotary.
    fn position_parameters(&self) -> u64 {
        match self.family {
            Family::Llama | Family::Qwen2 | Family::Qwen3 => 0,
            Family::Gpt => u64::from(self.context) * u64::from(self.width),
        }
    }

    /// What one token adds to the KV cache of the whole model, all layers: K and V of every KV head.
    ///
    /// ```
    /// # use headsaw::{spec::presets, units::Bytes};
    /// let llama = presets::find("llama-2-7b").unwrap();
    /// assert_eq!(llama.kv_bytes_per_token(2), Bytes(512 * 1024)); // f16: half a MiB a token
    /// ```
    pub fn kv_bytes_per_token(&self, bytes_per_element: u32) -> Bytes {
        let elements = 2 * u64::from(self.kv_heads) * u64::from(self.head_width);
        Bytes(u64::from(self.layers) * elements * u64::from(bytes_per_element))
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::presets;
    use crate::units::Bytes;

    /// Where weights are published, the exact size of all tensors; else the total as the paper prints it, rounded.
    #[test]
    fn parameters_agree_with_the_published_totals() {
        let exact = [
            ("smollm2-135m", 134_515_008),
            ("smollm2-360m", 361_821_120),
            ("smollm2-1.7b", 1_711_376_384),
            ("llama-2-7b", 6_738_415_616),
            ("llama-2-70b", 68_976_648_192),
            ("llama-3.1-8b", 8_030_261_248),
            ("llama-3.1-70b", 70_553_706_496),
            ("llama-3.1-405b", 405_853_388_800),
            ("qwen2-1.5b", 1_543_714_304),
            ("qwen2-7b", 7_615_616_512),
            ("qwen3-0.6b", 596_049_920),
            ("qwen3-1.7b", 1_720_574_976),
            ("qwen3-4b", 4_022_468_096),
            ("qwen3-8b", 8_190_735_360),
            ("qwen3-14b", 14_768_307_200),
            ("qwen3-32b", 32_762_123_264),
            ("mistral-7b", 7_241_732_096),
        ];
        for (name, expected) in exact {
            assert_eq!(spec(name).parameters(), expected, "{name}");
        }
        // Brown 2020, table 2.1; Narayanan 2021, table 1 (530B, 1T); Korthikanti 2022, table 3 (22B).
        let rounded = [("gpt3-175b", 175.0), ("megatron-22b", 22.0), ("megatron-530b", 529.6), ("megatron-1t", 1008.0)];
        for (name, billions) in rounded {
            let found = spec(name).parameters() as f64 / 1e9;
            assert!((found / billions - 1.0).abs() < 0.005, "{name}: {found} billion, expected {billions}");
        }
        assert_eq!(
            exact.len() + rounded.len() + 1,
            presets::names().count(),
            "a preset without a total (ours has none)"
        );
    }

    /// Narayanan 2021 (arXiv 2104.04473), equation 2 (number from memory, unchecked):
    /// 12·l·h²·(1 + 13/(12h) + (V + s)/(12·l·h)); it leaves out the last norm's 2h.
    #[test]
    fn gpt_counts_follow_the_closed_form_of_megatron() {
        for name in ["gpt3-175b", "megatron-22b", "megatron-530b", "megatron-1t"] {
            let model = spec(name);
            let [l, h, v, s] = [model.layers, model.width, model.vocab, model.context].map(u64::from);
            assert_eq!(model.parameters(), 12 * l * h * h + 13 * l * h + (v + s) * h + 2 * h, "{name}");
        }
    }

    #[test]
    fn the_kv_cache_grows_with_kv_heads_not_heads() {
        assert_eq!(spec("llama-3.1-70b").kv_bytes_per_token(2), Bytes(320 * 1024));
        assert_eq!(spec("smollm2-135m").kv_bytes_per_token(2), Bytes(2 * 30 * 3 * 64 * 2));
    }

    fn spec(name: &str) -> crate::spec::model::ModelSpec {
        presets::find(name).expect("a preset")
    }
}
