//! The weights of a layer, their shapes, and what the two file formats call them.

use headsaw::spec::Matrix;
use headsaw::spec::model::{Family, ModelSpec};

/// One weight of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Token embedding `[V, C]`.
    Embedding,
    /// Output matrix `[V, C]`; the embedding where they are tied.
    Output,
    /// Gain of the last norm `[C]`.
    OutputNorm,
    /// A weight of a layer, counted from 0.
    Layer(u32, LayerWeight),
}

/// One weight of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerWeight {
    /// Gain of the norm before attention `[C]`.
    AttnNorm,
    /// `[H·D, C]`, rotary pairs side by side.
    Q,
    /// `[K·D, C]`, rotary pairs side by side.
    K,
    /// `[K·D, C]`.
    V,
    /// `[C, H·D]`.
    O,
    /// `[H·D]`, rotary pairs side by side.
    QBias,
    /// `[K·D]`, rotary pairs side by side.
    KBias,
    /// `[K·D]`.
    VBias,
    /// Gain of the norm before the MLP `[C]`.
    FfnNorm,
    /// `[F, C]`.
    Gate,
    /// `[F, C]`.
    Up,
    /// `[C, F]`.
    Down,
    /// Gain of the norm of each head's Q `[D]`, rotary pairs side by side.
    QNorm,
    /// Gain of the norm of each head's K `[D]`, rotary pairs side by side.
    KNorm,
}

/// What a format calls the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    Gguf,
    HuggingFace,
}

const LAYER: [LayerWeight; 14] = {
    use LayerWeight::*;
    [AttnNorm, Q, K, V, O, QBias, KBias, VBias, QNorm, KNorm, FfnNorm, Gate, Up, Down]
};

impl LayerWeight {
    /// True for Q and K, their biases and their norms' gains, whose rows rotate in pairs.
    pub(crate) fn rotates(self) -> bool {
        use LayerWeight::*;
        matches!(self, Q | K | QBias | KBias | QNorm | KNorm)
    }

    fn is_bias(self) -> bool {
        use LayerWeight::*;
        matches!(self, QBias | KBias | VBias)
    }

    fn is_gain(self) -> bool {
        use LayerWeight::*;
        matches!(self, AttnNorm | FfnNorm | QNorm | KNorm)
    }

    /// Do layers of this family have it?
    fn belongs_to(self, family: Family) -> bool {
        match self {
            _ if self.is_bias() => family == Family::Qwen2,
            LayerWeight::QNorm | LayerWeight::KNorm => family.norms_heads(),
            _ => true,
        }
    }

    fn name(self, naming: Naming) -> &'static str {
        use LayerWeight::*;
        let [gguf, hugging_face] = match self {
            AttnNorm => ["attn_norm.weight", "input_layernorm.weight"],
            Q => ["attn_q.weight", "self_attn.q_proj.weight"],
            K => ["attn_k.weight", "self_attn.k_proj.weight"],
            V => ["attn_v.weight", "self_attn.v_proj.weight"],
            O => ["attn_output.weight", "self_attn.o_proj.weight"],
            QBias => ["attn_q.bias", "self_attn.q_proj.bias"],
            KBias => ["attn_k.bias", "self_attn.k_proj.bias"],
            VBias => ["attn_v.bias", "self_attn.v_proj.bias"],
            QNorm => ["attn_q_norm.weight", "self_attn.q_norm.weight"],
            KNorm => ["attn_k_norm.weight", "self_attn.k_norm.weight"],
            FfnNorm => ["ffn_norm.weight", "post_attention_layernorm.weight"],
            Gate => ["ffn_gate.weight", "mlp.gate_proj.weight"],
            Up => ["ffn_up.weight", "mlp.up_proj.weight"],
            Down => ["ffn_down.weight", "mlp.down_proj.weight"],
        };
        if naming == Naming::Gguf { gguf } else { hugging_face }
    }
}

impl Weight {
    /// All weights that a model of this shape has.
    pub fn all(spec: &ModelSpec) -> impl Iterator<Item = Weight> {
        let ends = [Weight::Embedding, Weight::OutputNorm].into_iter().chain((!spec.tied).then_some(Weight::Output));
        let family = spec.family;
        let of_layer =
            move |layer| LAYER.into_iter().filter(move |w| w.belongs_to(family)).map(move |w| Weight::Layer(layer, w));
        ends.chain((0..spec.layers).flat_map(of_layer))
    }

    /// `[rows, columns]`; a vector is one row.
    pub fn shape(self, spec: &ModelSpec) -> [u32; 2] {
        use LayerWeight::*;
        let (q, kv) = (spec.heads * spec.head_width, spec.kv_heads * spec.head_width);
        match self {
            Weight::Embedding | Weight::Output => [spec.vocab, spec.width],
            Weight::OutputNorm | Weight::Layer(_, AttnNorm | FfnNorm) => [1, spec.width],
            Weight::Layer(_, Q) => [q, spec.width],
            Weight::Layer(_, K | V) => [kv, spec.width],
            Weight::Layer(_, O) => [spec.width, q],
            Weight::Layer(_, QBias) => [1, q],
            Weight::Layer(_, KBias | VBias) => [1, kv],
            Weight::Layer(_, QNorm | KNorm) => [1, spec.head_width],
            Weight::Layer(_, Gate | Up) => [spec.ffn, spec.width],
            Weight::Layer(_, Down) => [spec.width, spec.ffn],
        }
    }

    /// True for gains and biases.
    pub fn is_vector(self) -> bool {
        self.matrix().is_none()
    }

    /// Which matrix of a shape it is; none for gains and biases.
    pub(crate) fn matrix(self) -> Option<Matrix> {
        Some(match self {
            Weight::Embedding => Matrix::Embedding,
            Weight::Output => Matrix::Output,
            Weight::Layer(_, LayerWeight::Q) => Matrix::Q,
            Weight::Layer(_, LayerWeight::K) => Matrix::K,
            Weight::Layer(_, LayerWeight::V) => Matrix::V,
            Weight::Layer(_, LayerWeight::O) => Matrix::O,
            Weight::Layer(_, LayerWeight::Gate) => Matrix::Gate,
            Weight::Layer(_, LayerWeight::Up) => Matrix::Up,
            Weight::Layer(_, LayerWeight::Down) => Matrix::Down,
            _ => return None,
        })
    }

    /// True for the gains of norms.
    pub(crate) fn is_gain(self) -> bool {
        match self {
            Weight::Embedding | Weight::Output => false,
            Weight::OutputNorm => true,
            Weight::Layer(_, weight) => weight.is_gain(),
        }
    }

    /// What GGUF files call it.
    pub(crate) fn gguf_name(self) -> String {
        self.name(Naming::Gguf)
    }

    /// What Hugging Face files call it.
    pub(crate) fn hf_name(self) -> String {
        self.name(Naming::HuggingFace)
    }

    pub(crate) fn name(self, naming: Naming) -> String {
        match (self, naming) {
            (Weight::Embedding, Naming::Gguf) => "token_embd.weight".into(),
            (Weight::Embedding, Naming::HuggingFace) => "model.embed_tokens.weight".into(),
            (Weight::Output, Naming::Gguf) => "output.weight".into(),
            (Weight::Output, Naming::HuggingFace) => "lm_head.weight".into(),
            (Weight::OutputNorm, Naming::Gguf) => "output_norm.weight".into(),
            (Weight::OutputNorm, Naming::HuggingFace) => "model.norm.weight".into(),
            (Weight::Layer(layer, weight), Naming::Gguf) => format!("blk.{layer}.{}", weight.name(naming)),
            (Weight::Layer(layer, weight), Naming::HuggingFace) => {
                format!("model.layers.{layer}.{}", weight.name(naming))
            }
        }
    }
}
