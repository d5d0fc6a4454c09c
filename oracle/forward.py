"""A second reference: the same models written out in numpy, to be sure that candle is driven rightly.

It shares no code with candle or headsaw: GGUF tensors are dequantised by llama.cpp's `gguf` package, and rotation works
on neighbouring rows as the GGUF stores them, where candle's is given un-permuted rows. In f64 it also shows how much of
a difference is mere rounding of f32.
"""

import json
import math

import numpy as np


class Model:
    """config: width, heads, kv_heads, epsilon, frequencies [head width / 2], neighbours (which rows are rotated)."""

    def __init__(self, config, weights, dtype):
        self.__dict__.update(config)
        self.weights = {name: np.asarray(value, dtype) for name, value in weights.items()}
        self.dtype = dtype

    def logits(self, tokens, start, trace=None):
        """Logits [len(tokens) - start, V] of the positions from start on; trace(name, value) sees what is between."""
        w, dtype = self.weights, self.dtype
        trace = trace or (lambda name, value: None)
        tokens = np.asarray(tokens)
        count = len(tokens)
        angles = np.arange(count)[:, None] * self.frequencies[None, :]
        cos, sin = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
        mask = np.where(np.tri(count, dtype=bool), 0, -np.inf).astype(dtype)
        x = w["embed"][tokens]
        trace("embed", x)
        for layer in range(self.layers):
            get = lambda name: w[f"{layer}.{name}"]
            linear = lambda name, value: value @ get(name).T + w.get(f"{layer}.{name}.bias", dtype(0))
            normed = self.norm(x, get("attn_norm"))
            split = lambda value: value.reshape(count, -1, self.head_width).transpose(1, 0, 2)
            q, k, v = (split(linear(name, normed)) for name in "qkv")
            q, k = (self.norm(x, get(f"{n}_norm")) if f"{layer}.{n}_norm" in w else x for n, x in (("q", q), ("k", k)))
            q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
            trace(f"{layer}.q", q)
            trace(f"{layer}.k", k)
            trace(f"{layer}.v", v)
            k, v = (np.repeat(value, self.heads // self.kv_heads, axis=0) for value in (k, v))
            scores = q @ k.transpose(0, 2, 1) / dtype(math.sqrt(self.head_width)) + mask
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            heads = (scores @ v).transpose(1, 0, 2).reshape(count, -1)
            trace(f"{layer}.heads", heads)
            x = x + linear("o", heads)
            trace(f"{layer}.attention", x)
            normed = self.norm(x, get("ffn_norm"))
            gate = linear("gate", normed)
            x = x + linear("down", gate / (1 + np.exp(-gate)) * linear("up", normed))
            trace(f"{layer}.mlp", x)
        return self.norm(x[start:], w["norm"]) @ w.get("output", w["embed"]).T

    def norm(self, x, gain):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.dtype(self.epsilon)) * gain

    def rotate(self, x, cos, sin):
        out = np.empty_like(x)
        half = self.head_width // 2
        a, b = (np.s_[..., 0::2], np.s_[..., 1::2]) if self.neighbours else (np.s_[..., :half], np.s_[..., half:])
        out[a] = x[a] * cos - x[b] * sin
        out[b] = x[b] * cos + x[a] * sin
        return out


def frequencies(head_width, theta, scaling=None):
    """1 / theta^(2i / head width), with Llama 3's scaling where there is one."""
    plain = theta ** (-np.arange(0, head_width, 2) / head_width)
    if scaling is None:
        return plain
    original = scaling["original_max_position_embeddings"]
    low, high, factor = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["factor"]
    turns = original * plain / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return plain * (smooth + (1 - smooth) / factor)


def of_gguf(path, dtype):
    import gguf

    reader = gguf.GGUFReader(path)
    value = lambda key: reader.get_field(key).contents()
    heads, width = value("llama.attention.head_count"), value("llama.embedding_length")
    config = dict(
        layers=value("llama.block_count"),
        heads=heads,
        kv_heads=value("llama.attention.head_count_kv"),
        head_width=width // heads,
        epsilon=value("llama.attention.layer_norm_rms_epsilon"),
        frequencies=frequencies(width // heads, value("llama.rope.freq_base")),
        neighbours=True,
    )
    names = dict(attn_q="q", attn_k="k", attn_v="v", attn_output="o", ffn_gate="gate", ffn_up="up", ffn_down="down")
    top = dict(token_embd="embed", output_norm="norm", output="output")
    weights = {}
    for tensor in reader.tensors:
        part = tensor.name.removesuffix(".weight").split(".")
        name = f"{part[1]}.{names.get(part[2], part[2])}" if part[0] == "blk" else top[part[0]]
        weights[name] = gguf.dequantize(tensor.data, tensor.tensor_type)
    return Model(config, weights, dtype)


def of_folder(folder, dtype):
    config = json.loads((folder / "config.json").read_text())
    heads, width = config["num_attention_heads"], config["hidden_size"]
    head_width = config.get("head_dim", width // heads)
    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "embed_tokens": "embed",
        "lm_head": "output",
    }
    weights = {}
    for name, value in read_safetensors(folder / "model.safetensors").items():
        part = name.split(".")
        last = part[-2].removesuffix("_proj")
        own = names.get(last, last)
        own = f"{part[2]}.{own}" if "layers" in part else own
        weights[own + (".bias" if part[-1] == "bias" else "")] = value
    return Model(
        dict(
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config["num_key_value_heads"],
            head_width=head_width,
            epsilon=config["rms_norm_eps"],
            frequencies=frequencies(head_width, config["rope_theta"], config.get("rope_scaling")),
            neighbours=False,
        ),
        weights,
        dtype,
    )


TYPES = {"F64": "<f8", "F32": "<f4", "U32": "<u4", "U16": "<u2"}


def read_safetensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + size :]
    return {
        name: np.frombuffer(body[slice(*t["data_offsets"])], TYPES[t["dtype"]]).reshape(t["shape"])
        for name, t in header.items()
    }


def write_safetensors(path, tensors, metadata):
    header, body = {"__metadata__": metadata}, b""
    for name, value in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        dtype = next(name for name, code in TYPES.items() if np.dtype(code) == value.dtype)
        start = len(body)
        body += np.ascontiguousarray(value).tobytes()
        header[name] = {"dtype": dtype, "shape": value.shape, "data_offsets": [start, len(body)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
