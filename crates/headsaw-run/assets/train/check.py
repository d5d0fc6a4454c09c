"""Read demo.gguf back in plain numpy, by its metadata alone, and let it write.

    python check.py demo.gguf [PROMPT ...]     # greedy and sampled text
    python check.py demo.gguf --loss           # loss of the quantised file on the held-out text

Shares no code with train.py's model: its own Q8_0 reader, tokenizer and forward pass (in GGUF's names and orders).
"""
import argparse
import re

import gguf
import numpy as np

PROMPTS = ["And the king said unto him,", "And it came to pass", "The words of"]
SAMPLED = 60
# GPT-2's pattern; the letters of an English prompt are enough here
WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def byte_letters():
    """GPT-2's letter of each byte: itself where printable, else the next free one from U+0100."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}


class File:
    """Metadata, tensors [out, in] in f32 and tokenizer of a GGUF file."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.meta = {name: field.contents() for name, field in reader.fields.items()}
        self.w = {t.name: tensor(t) for t in reader.tensors}
        self.tokens = self.meta["tokenizer.ggml.tokens"]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(self.meta["tokenizer.ggml.merges"])}
        self.letter = byte_letters()
        self.byte = {c: b for b, c in self.letter.items()}

    def get(self, key):
        return self.meta[f"llama.{key}"]

    def encode(self, text):
        ids = []
        for word in WORDS.findall(text):
            parts = [self.letter[b] for b in word.encode()]
            while len(parts) > 1:
                rank, i = min((self.rank.get(p, 1 << 30), i) for i, p in enumerate(zip(parts, parts[1:])))
                if rank == 1 << 30:
                    break
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            ids += [self.ids[p] for p in parts]
        return ids

    def decode(self, ids):
        return bytes(self.byte[c] for i in ids for c in self.tokens[i]).decode(errors="replace")


def tensor(t):
    """Q8_0 is blocks of an f16 scale and 32 signed bytes."""
    shape = [int(n) for n in reversed(t.shape)]
    if t.tensor_type == gguf.GGMLQuantizationType.F32:
        return np.array(t.data, np.float32).reshape(shape)
    assert t.tensor_type == gguf.GGMLQuantizationType.Q8_0, t.tensor_type
    block = np.frombuffer(t.data.tobytes(), np.dtype([("scale", "<f2"), ("q", "i1", 32)]))
    return (block["scale"].astype(np.float32)[:, None] * block["q"]).reshape(shape)


def norm(x, gain, eps):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps) * gain


def forward(f, ids):
    """ids [T] -> logits [T, V]"""
    H, K, D, T = (*map(f.get, ("attention.head_count", "attention.head_count_kv", "rope.dimension_count")), len(ids))
    eps, x = f.get("attention.layer_norm_rms_epsilon"), f.w["token_embd.weight"][ids]
    turn = np.exp(1j * np.outer(np.arange(T), f.get("rope.freq_base") ** (-np.arange(0, D, 2) / D)))
    for l in range(f.get("block_count")):
        w = {n: f.w[f"blk.{l}.{n}.weight"] for n in
             ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")}
        n, out = norm(x, w["attn_norm"], eps), np.zeros((T, H * D), np.float32)
        for h in range(H):
            q, k, v = (n @ w[f"attn_{m}"][g * D:g * D + D].T for m, g in zip("qkv", (h, h * K // H, h * K // H)))
            q, k = (np.ascontiguousarray(a).view(np.complex64) * turn for a in (q, k))  # pair (2i, 2i+1) as one number
            score = (q @ k.conj().T).real / D ** 0.5
            score[np.triu_indices(T, 1)] = -np.inf
            score = np.exp(score - score.max(-1, keepdims=True))
            out[:, h * D:h * D + D] = score / score.sum(-1, keepdims=True) @ v
        x = x + out @ w["attn_output"].T
        n = norm(x, w["ffn_norm"], eps)
        gate = n @ w["ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (n @ w["ffn_up"].T)) @ w["ffn_down"].T
    return norm(x, f.w["output_norm.weight"], eps) @ f.w["token_embd.weight"].T


def write(f, prompt, temperature, top_k=40, seed=1):
    ids, rng = [f.meta["tokenizer.ggml.bos_token_id"], *f.encode(prompt)], np.random.default_rng(seed)
    start = len(ids)
    while len(ids) < start + SAMPLED:
        z = forward(f, np.array(ids))[-1]
        if temperature == 0:
            ids.append(int(z.argmax()))
        else:
            best = np.argsort(-z, kind="stable")[:top_k]
            p = np.exp((z[best] - z[best[0]]) / temperature)
            ids.append(int(rng.choice(best, p=p / p.sum())))
        if ids[-1] == f.meta["tokenizer.ggml.eos_token_id"]:
            ids.pop()
            break
    return f.decode(ids[1:])


def held_out_loss(f):
    """Mean nats a token and bits a byte over windows of the context length that do not overlap."""
    import train
    total, count, text = 0.0, 0, train.split(train.corpus())[1]
    parts = text.split(train.END)[1:]
    ids = np.array([i for part in parts for i in [f.ids[train.END], *f.encode(part)]])
    T = f.get("context_length")
    for i in range(0, len(ids) - T, T):
        z = forward(f, ids[i:i + T]).astype(np.float64)
        total += np.sum(np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1)) + z.max(-1) - z[range(T), ids[i + 1:i + T + 1]])
        count += T
    bits = total / np.log(2) / count * len(ids) / len(text.replace(train.END, ""))
    print(f"held-out loss of the quantised file: {total / count:.4f} nats a token, {bits:.3f} bits a byte, {count} tokens")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("file")
    args.add_argument("prompts", nargs="*", default=PROMPTS)
    args.add_argument("--loss", action="store_true")
    args.add_argument("--seed", type=int, default=1)
    args = args.parse_intermixed_args()
    f = File(args.file)
    if args.loss:
        return held_out_loss(f)
    for prompt in args.prompts:
        for temperature in (0, 0.7):
            print(f"--- {prompt!r}, temperature {temperature}\n{write(f, prompt, temperature, seed=args.seed)}\n")


if __name__ == "__main__":
    main()
