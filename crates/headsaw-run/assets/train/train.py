"""Train headsaw's demo model on the King James Bible and write it as one GGUF file.

A Llama-shaped model of 8 heads, small enough to be embedded in the binary, trained on one CPU core in under an hour.
README.md beside this file names the corpus, the packages and the commands.

    python train.py train  --work DIR                # corpus, tokenizer, training; checkpoints in DIR, resumes from them
    python train.py export --work DIR --out demo.gguf

Letters: B batch, T tokens, C width, H query heads, K key/value heads, D head width, F MLP width, V vocabulary, L layers.
"""
import argparse
import functools
import hashlib
import json
import pathlib
import pickle
import re
import subprocess
import time

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import tokenizers

SEED = 1611
L, C, H, K, D, F, V = 4, 256, 8, 4, 32, 512, 2048
EPS, ROPE_BASE, CONTEXT = 1e-5, 10_000.0, 512
END = "<|endoftext|>"

CORPUS_COMMAND = ["bible", "-f", "gen1:1-rev22:21"]  # Debian packages bible-kjv and bible-kjv-text
CORPUS_SHA256 = "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d"
HELD_OUT = 0.03  # the last part of the text is never trained on

STEP_COUNT, DECAY_STEP = 1100, 800  # from DECAY_STEP on the rate falls
LONG_STEP = 1000  # from here on a batch is 8 windows of 512 tokens, before 16 of 256
STEP_TOKENS, WINDOW, WINDOW_LONG = 4096, 256, 512
WARMUP_STEPS = 40
QUERY_BLOCK = 64
MATRIX_RATE, EMBED_RATE, NORM_RATE = 0.02, 4e-3, 4e-3
WEIGHT_DECAY = 0.05
AVERAGE = 0.98  # decay of the running average of the weights, which is what is exported

# ---- corpus and tokenizer -------------------------------------------------------------------------------------------


def corpus():
    """The text as one string: a verse a line, every chapter opened by END."""
    raw = subprocess.run(CORPUS_COMMAND, capture_output=True, check=True).stdout
    found = hashlib.sha256(raw).hexdigest()
    if found != CORPUS_SHA256:
        raise SystemExit(f"corpus: sha256 {found}, expected {CORPUS_SHA256}; see README.md for the package version")
    text, chapter = [], None
    for line in raw.decode("ascii").splitlines():
        reference, verse = line.split(" ", 1)
        if reference.split(":")[0] != chapter:
            chapter = reference.split(":")[0]
            text.append(END)
        text.append(re.sub(r"\s+", " ", verse).strip() + "\n")
    return "".join(text)


def split(text):
    """(training text, held-out text), cut at a chapter."""
    cut = text.index(END, int(len(text) * (1 - HELD_OUT)))
    return text[:cut], text[cut:]


def train_tokenizer(text):
    """GPT-2 style byte-level BPE; END is token 0, then the 256 bytes, then merges."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=V, special_tokens=[END], show_progress=False,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    bpe.train_from_iterator(text.replace(END, "").splitlines(keepends=True), trainer)
    assert bpe.get_vocab_size() == V, bpe.get_vocab_size()
    return bpe


# ---- model ----------------------------------------------------------------------------------------------------------


def init(key):
    """Weights; matrices are stacked over layers as [L, in, out]."""
    shapes = {"q": (C, H * D), "k": (C, K * D), "v": (C, K * D), "o": (H * D, C),
              "gate": (C, F), "up": (C, F), "down": (F, C)}
    w = {name: jax.random.normal(jax.random.fold_in(key, i), (L, *shape)) * shape[0] ** -0.5
         for i, (name, shape) in enumerate(shapes.items())}
    w["o"], w["down"] = w["o"] * 0.2, w["down"] * 0.2
    w["embed"] = jax.random.normal(jax.random.fold_in(key, 99), (V, C)) * 0.05
    w["attn_norm"], w["ffn_norm"], w["out_norm"] = jnp.ones((L, C)), jnp.ones((L, C)), jnp.ones(C)
    return w


def rms_norm(x, gain):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + EPS) * gain


def rotate(x, cos, sin):
    """Rotary embedding on adjacent pairs (2i, 2i+1), the row order that GGUF's "llama" expects. x [B,H,T,D]"""
    pair = x.reshape(*x.shape[:-1], D // 2, 2)
    even, odd = pair[..., 0], pair[..., 1]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


def attention(q, k, v):
    """Causal attention of one K/V head and the H/K query heads of its group. q [H/K,T,D], k v [T,D] -> [H/K,T,D]"""
    G, T, _ = q.shape
    mask = jnp.where(jnp.tril(jnp.ones((T, T), bool)), 0.0, -1e9)
    parts = []
    for i in range(0, T, QUERY_BLOCK):  # a block of queries needs no key after its own end
        j = i + QUERY_BLOCK
        score = (q[:, i:j].reshape(-1, D) @ k[:j].T).reshape(G, -1, min(j, T)) * D ** -0.5 + mask[i:j, :j]
        parts.append((jax.nn.softmax(score, -1).reshape(-1, min(j, T)) @ v[:j]).reshape(G, -1, D))
    return jnp.concatenate(parts, 1)


def hidden(w, tokens):
    """tokens [B,T] -> the last layer's normalised output [B*T,C]"""
    B, T = tokens.shape
    angle = jnp.arange(T)[:, None] * ROPE_BASE ** (-jnp.arange(D // 2) * 2 / D)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    heads = lambda x, n: x.reshape(B, T, n, D).transpose(0, 2, 1, 3)
    x = w["embed"][tokens.reshape(-1)]
    for l in range(L):
        n = rms_norm(x, w["attn_norm"][l])
        q = rotate(heads(n @ w["q"][l], H), cos, sin).reshape(B * K, H // K, T, D)
        k = rotate(heads(n @ w["k"][l], K), cos, sin).reshape(B * K, T, D)
        v = heads(n @ w["v"][l], K).reshape(B * K, T, D)
        mix = jax.lax.map(lambda a: attention(*a), (q, k, v))
        x = x + mix.reshape(B, H, T, D).transpose(0, 2, 1, 3).reshape(B * T, C) @ w["o"][l]
        n = rms_norm(x, w["ffn_norm"][l])
        x = x + (jax.nn.silu(n @ w["gate"][l]) * (n @ w["up"][l])) @ w["down"][l]
    return rms_norm(x, w["out_norm"])


def loss(w, tokens):
    """Mean cross-entropy, in nats a token, of predicting tokens[:, 1:]."""
    x, target = hidden(w, tokens[:, :-1]), tokens[:, 1:].reshape(-1)
    return jnp.mean(jax.nn.logsumexp(x @ w["embed"].T, -1) - jnp.sum(x * w["embed"][target], -1))


# ---- optimizer ------------------------------------------------------------------------------------------------------


def orthogonal(g):
    """The nearest orthogonal matrix, about: five Newton-Schulz steps of Muon (Jordan 2024). g [L,in,out]"""
    tall = g.shape[-2] > g.shape[-1]
    x = g.swapaxes(-1, -2) if tall else g
    x = x / (jnp.sqrt(jnp.sum(x * x, (-1, -2), keepdims=True)) + 1e-7)
    for _ in range(5):
        a = x @ x.swapaxes(-1, -2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.swapaxes(-1, -2) if tall else x) * max(1.0, g.shape[-1] / g.shape[-2]) ** 0.5


def schedule(step):
    """Share of the peak rate: linear warm-up, flat, then from DECAY_STEP down to 0."""
    return jnp.minimum((step + 1) / WARMUP_STEPS, jnp.minimum(1.0, (STEP_COUNT - step) / (STEP_COUNT - DECAY_STEP)))


@functools.partial(jax.jit, donate_argnums=0)
def update(state, tokens):
    """One step: Muon for the matrices of the layers, Adam for the embedding and the norms."""
    w, m, s, step = state["w"], state["m"], state["s"], state["step"]
    value, g = jax.value_and_grad(loss)(w, tokens)
    clip = jnp.minimum(1.0, 1.0 / jnp.sqrt(sum(jnp.sum(x * x) for x in g.values())))
    share, new = schedule(step), {"w": {}, "m": {}, "s": {}, "a": {}}
    for name, x in w.items():
        if x.ndim == 3:
            moment = 0.95 * m[name] + g[name]
            x = x * (1 - MATRIX_RATE * share * WEIGHT_DECAY)
            x = x - MATRIX_RATE * share * orthogonal(g[name] + 0.95 * moment)
            square = s[name]
        else:
            grad = g[name] * clip
            moment = 0.9 * m[name] + 0.1 * grad
            square = 0.98 * s[name] + 0.02 * grad * grad
            hat, root = moment / (1 - 0.9 ** (step + 1)), jnp.sqrt(square / (1 - 0.98 ** (step + 1)))
            x = x - (EMBED_RATE if name == "embed" else NORM_RATE) * share * hat / (root + 1e-8)
        new["w"][name], new["m"][name], new["s"][name] = x, moment, square
        new["a"][name] = AVERAGE * state["a"][name] + (1 - AVERAGE) * x
    return {**new, "step": step + 1}, value


# ---- training -------------------------------------------------------------------------------------------------------


def windows(ids, step):
    """The batch of a step; depends on the step alone, so that a resumed run sees the same data."""
    T = WINDOW if step < LONG_STEP else WINDOW_LONG
    start = np.random.default_rng([SEED, step]).integers(0, len(ids) - T - 1, STEP_TOKENS // T)
    return np.stack([ids[i:i + T + 1] for i in start])


def evaluate(w, ids, T):
    """Mean loss over ids in windows of T that do not overlap."""
    count = (len(ids) - 1) // T
    batch = np.stack([ids[i * T:i * T + T + 1] for i in range(count)])
    run = jax.jit(loss)
    return float(np.mean([run(w, row[None]) for row in batch]))


def prepare(work):
    """(tokenizer, training ids, held-out ids)"""
    text, held_out = split(corpus())
    path = work / "tokenizer.json"
    if not path.exists():
        train_tokenizer(text).save(str(path))
    bpe = tokenizers.Tokenizer.from_file(str(path))
    return bpe, *(np.array(bpe.encode(part).ids, np.int32) for part in (text, held_out))


def train(work, stop):
    _, ids, held_out = prepare(work)
    print(f"tokens: {len(ids)} train, {len(held_out)} held out", flush=True)
    path = work / "state.pickle"
    if path.exists():
        state = pickle.loads(path.read_bytes())
    else:
        w = init(jax.random.key(SEED))
        zero = jax.tree.map(jnp.zeros_like, w)
        state = {"w": w, "m": zero, "s": {n: jnp.zeros_like(x if x.ndim < 3 else x[:1, :1, :1]) for n, x in w.items()},
                 "a": w, "step": jnp.int32(0)}
        state = jax.tree.map(jnp.array, state)  # own buffers: update() gives them away
    print(f"parameters: {sum(x.size for x in state['w'].values())}", flush=True)
    first, begin, seen = int(state["step"]), time.time(), []
    for step in range(first, min(stop, STEP_COUNT)):
        state, value = update(state, windows(ids, step))
        seen.append(float(value))
        if (step + 1) % 20 == 0:
            rate = (step + 1 - first) * STEP_TOKENS / (time.time() - begin)
            print(f"step {step + 1} loss {np.mean(seen[-20:]):.4f} {rate:.0f} tokens/s {time.time() - begin:.0f} s", flush=True)
        if (step + 1) % 100 == 0 or step + 1 == STEP_COUNT:
            host = jax.tree.map(np.asarray, state)
            part = path.with_suffix(".part")
            part.write_bytes(pickle.dumps(host))
            part.replace(path)
            report = {"step": step + 1, "train": evaluate(host["a"], ids[:len(held_out)], WINDOW),
                      "held_out": evaluate(host["a"], held_out, WINDOW), "held_out_long": evaluate(host["a"], held_out, WINDOW_LONG)}
            print(json.dumps(report), flush=True)


# ---- export ---------------------------------------------------------------------------------------------------------


def export(work, out):
    """Write the averaged weights: matrices as Q8_0, norms as F32, the tokenizer inside."""
    w = jax.tree.map(np.asarray, pickle.loads((work / "state.pickle").read_bytes())["a"])
    bpe = json.loads((work / "tokenizer.json").read_text())["model"]
    file = gguf.GGUFWriter(str(out), "llama")
    file.add_name("headsaw demo")
    file.add_description("Llama-shaped demo model of 8 heads, trained on the King James Bible")
    file.add_license("MIT OR Apache-2.0")
    file.add_vocab_size(V)
    file.add_context_length(CONTEXT)
    file.add_embedding_length(C)
    file.add_block_count(L)
    file.add_feed_forward_length(F)
    file.add_head_count(H)
    file.add_head_count_kv(K)
    file.add_layer_norm_rms_eps(EPS)
    file.add_rope_freq_base(ROPE_BASE)
    file.add_rope_dimension_count(D)
    file.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
    file.add_token_list(tokens)
    file.add_token_types([gguf.TokenType.CONTROL if t == END else gguf.TokenType.NORMAL for t in tokens])
    file.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]])
    file.add_bos_token_id(tokens.index(END))
    file.add_eos_token_id(tokens.index(END))
    file.add_add_bos_token(True)

    def matrix(name, x):  # ours are [in, out]; GGUF rows are outputs
        q8 = gguf.quants.quantize(np.ascontiguousarray(x.T, np.float32), gguf.GGMLQuantizationType.Q8_0)
        file.add_tensor(name, q8, raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    matrix("token_embd.weight", w["embed"].T)
    for l in range(L):
        file.add_tensor(f"blk.{l}.attn_norm.weight", w["attn_norm"][l])
        for ours in "qkv":
            matrix(f"blk.{l}.attn_{ours}.weight", w[ours][l])
        matrix(f"blk.{l}.attn_output.weight", w["o"][l])
        file.add_tensor(f"blk.{l}.ffn_norm.weight", w["ffn_norm"][l])
        for ours in ("gate", "up", "down"):
            matrix(f"blk.{l}.ffn_{ours}.weight", w[ours][l])
    file.add_tensor("output_norm.weight", w["out_norm"])
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("command", choices=["train", "export"])
    args.add_argument("--work", type=pathlib.Path, required=True, help="folder of the tokenizer and the checkpoint")
    args.add_argument("--out", type=pathlib.Path, default=pathlib.Path("demo.gguf"))
    args.add_argument("--stop", type=int, default=STEP_COUNT, help="leave after this step; a later run resumes")
    args = args.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.command == "train":
        train(args.work, args.stop)
    else:
        export(args.work, args.out)


if __name__ == "__main__":
    main()
