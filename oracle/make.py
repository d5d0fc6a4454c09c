"""Makes the stored references: `make.py MODEL.gguf CANDLE WORK`, all of it run by `cargo xtask oracle`.

CANDLE is the built binary of this package, WORK a folder for what is too large to keep. See README.md.
"""

import datetime
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import forward

HERE = Path(__file__).parent
STORED = HERE / "stored"
TOKENS = HERE / "tokens.json"
POSITIONS = 64
TOP = 1024
SAMPLE = 512
GAP = 0.5


def main():
    model, candle, work = (Path(arg).resolve() for arg in sys.argv[1:])
    work.mkdir(parents=True, exist_ok=True)
    STORED.mkdir(exist_ok=True)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()

    def timed(what, function, *args):
        start = time.monotonic()
        result = function(*args)
        print(f"{what}: {time.monotonic() - start:.0f} s", flush=True)
        return result

    timed("tokens", tokenise, model, work / "prompts.json")
    timed("candle", run, candle, "gguf", model, work / "prompts.json", work / "smollm2.safetensors")
    timed("candle, small models", run, candle, "small", work)
    smollm2 = results(work / "smollm2.safetensors")
    figures = {
        "smollm2": timed("numpy", check, smollm2, lambda dtype: forward.of_gguf(model, dtype)),
        **{name: timed(f"numpy, {name}", small, name, work) for name in ("llama", "qwen2", "qwen3")},
    }
    write_json(STORED / "candle-numpy.json", figures)
    store(smollm2, digest)
    timed("llama.cpp", llama_cpp, model, smollm2, digest)


def run(*command):
    subprocess.run([str(part) for part in command], check=True)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def llama(model, **options):
    import llama_cpp

    return llama_cpp.Llama(str(model), verbose=False, n_threads=2, n_threads_batch=2, **options)


def tokenise(model, out):
    """llama.cpp tokenises; tokens that were forced before stay, so that new results compare with old ones."""
    tokeniser = llama(model, vocab_only=True)
    prompts = []
    for old in json.loads(TOKENS.read_text())["prompts"]:
        tokens = tokeniser.tokenize(old["text"].encode(), add_bos=False, special=True)
        same = tokens == old.get("prompt_tokens")
        prompts.append({"text": old["text"], "prompt_tokens": tokens, "forced": old["forced"] if same else []})
    out.write_text(json.dumps({"prompts": prompts}))


def results(path):
    """[(prompt, forced, logits)] of a result of candle's."""
    tensors = forward.read_safetensors(path)
    count = len(tensors) // 3
    return [tuple(tensors[f"{name}.{i}"] for name in ("prompt", "forced", "logits")) for i in range(count)]


def spread(a, b):
    """The largest difference at any position, as a part of the range of b's logits there."""
    return float((np.abs(a - b).max(-1) / (b.max(-1) - b.min(-1))).max())


def check(sequences, load):
    """How far candle, numpy in f32 and numpy in f64 lie apart."""
    own = {}
    for dtype in (np.float32, np.float64):
        model = load(dtype)
        own[dtype] = np.concatenate(
            [model.logits(np.concatenate([p, f[:-1]]), len(p) - 1) for p, f, _ in sequences]
        )
    candle = np.concatenate([logits for _, _, logits in sequences])
    span = candle.max(-1) - candle.min(-1)
    figures = {
        "candle_f32_to_numpy_f32": spread(candle, own[np.float32]),
        "candle_f32_to_numpy_f64": spread(candle, own[np.float64]),
        "numpy_f32_to_numpy_f64": spread(own[np.float32], own[np.float64]),
        "range_of_logits": [float(span.min()), float(span.max())],
    }
    print(figures)
    assert figures["candle_f32_to_numpy_f64"] < 1e-4, "candle and numpy disagree"
    return figures


def small(name, work):
    sequences = results(work / f"{name}.safetensors")
    figures = check(sequences, lambda dtype: forward.of_folder(work / name, dtype))
    model = (work / name / "model.safetensors").read_bytes()
    logits = np.stack([logits for _, _, logits in sequences])
    metadata = {"model_sha256": hashlib.sha256(model).hexdigest(), "made_by": "candle-transformers, f32"}
    forward.write_safetensors(STORED / f"{name}.safetensors", {"logits": logits}, metadata)
    return figures


def sample_ids(vocab):
    """The first SAMPLE different values of x mod vocab, x from the generator SplitMix64 with seed 0, sorted."""
    state, mask, ids = 0, (1 << 64) - 1, set()
    while len(ids) < SAMPLE:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        ids.add((z ^ (z >> 31)) % vocab)
    return np.array(sorted(ids), np.uint16)


def log_sum_exp(logits):
    top = logits.max(-1, keepdims=True)
    return (top + np.log(np.exp(logits - top).sum(-1, keepdims=True)))[..., 0]


def top_ids(logits):
    """The ids of the TOP largest logits, largest first; of equal ones the smaller id first."""
    return np.argsort(-logits, axis=-1, kind="stable")[:, :TOP]


def store(sequences, digest):
    logits = np.concatenate([logits for _, _, logits in sequences])
    ids = top_ids(logits)
    top = np.take_along_axis(logits, ids, -1)
    total = log_sum_exp(logits.astype(np.float64))
    rest = logits.astype(np.float64)
    np.put_along_axis(rest, ids, -np.inf, -1)
    sample = sample_ids(logits.shape[-1])
    tensors = {
        "log_sum_exp": total,
        "rest": np.exp(log_sum_exp(rest) - total),
        "min": logits.min(-1),
        "max": logits.max(-1),
        "top_ids": ids.astype(np.uint16),
        "top": top,
        "sample_ids": sample,
        "sample": logits[:, sample],
    }
    forward.write_safetensors(STORED / "smollm2-f32.safetensors", tensors, {"model_sha256": digest})
    texts = [prompt["text"] for prompt in json.loads(TOKENS.read_text())["prompts"]]
    prompts = [
        {"text": text, "prompt_tokens": prompt.tolist(), "forced": forced.tolist()}
        for text, (prompt, forced, _) in zip(texts, sequences, strict=True)
    ]
    lines = ",\n".join("  " + json.dumps(prompt) for prompt in prompts)
    TOKENS.write_text(f'{{"prompts": [\n{lines}\n]}}\n')


def divergence(p, q):
    """KL(p || q) in nats of logits [n, V]: over the whole vocabulary, and over p's top ids and one bucket of the rest."""
    p, q = p.astype(np.float64), q.astype(np.float64)
    p, q = p - log_sum_exp(p)[:, None], q - log_sum_exp(q)[:, None]
    whole = (np.exp(p) * (p - q)).sum(-1)
    ids = top_ids(p)
    top_p, top_q = np.take_along_axis(p, ids, -1), np.take_along_axis(q, ids, -1)
    rest_p, rest_q = p.copy(), q.copy()
    for rest in (rest_p, rest_q):
        np.put_along_axis(rest, ids, -np.inf, -1)
    rest_p, rest_q = log_sum_exp(rest_p), log_sum_exp(rest_q)
    bucketed = (np.exp(top_p) * (top_p - top_q)).sum(-1) + np.exp(rest_p) * (rest_p - rest_q)
    return whole, bucketed


def compare(reference, logits):
    whole, bucketed = divergence(reference, logits)
    ranked = np.sort(reference, -1)
    gap = ranked[:, -1] - ranked[:, -2]
    own, theirs = logits.argmax(-1), reference.argmax(-1)
    return {
        "kl_mean": float(whole.mean()),
        "kl_max": float(whole.max()),
        "kl_mean_bucketed": float(bucketed.mean()),
        "kl_max_bucketed": float(bucketed.max()),
        "kl_mean_of_prompts": [float(part.mean()) for part in np.split(whole, len(whole) // POSITIONS)],
        "top_disagreements": int((own != theirs).sum()),
        "top_disagreements_where_gap_above_0.5": [
            {"prompt": int(i) // POSITIONS, "position": int(i) % POSITIONS, "gap": float(gap[i])}
            for i in np.flatnonzero((own != theirs) & (gap > GAP))
        ],
        "largest_difference_of_range": spread(logits, reference),
    }


def llama_cpp(model, sequences, digest):
    """llama.cpp's own distributions: the prompt in one piece, then token by token, as it generates."""
    import llama_cpp as package

    reference = np.concatenate([logits for _, _, logits in sequences])

    def logits(llm, pieces):
        rows = []
        for prompt, forced, _ in sequences:
            tokens = [*prompt.tolist(), *forced[:-1].tolist()]
            llm.reset()
            for piece in pieces(tokens, len(prompt)):
                llm.eval(piece)
            assert llm.n_tokens == len(tokens)
            rows.append(llm.scores[len(prompt) - 1 : len(tokens)].copy())
        return np.concatenate(rows)

    as_generated = lambda tokens, prompt: [tokens[:prompt], *([t] for t in tokens[prompt:])]
    in_one_piece = lambda tokens, prompt: [tokens]
    llm = llama(model, n_ctx=512, logits_all=True)
    flash = package.llama_flash_attn_type_name(llm.context_params.flash_attn_type).decode()
    default = compare(reference, logits(llm, as_generated))
    one_batch = compare(reference, logits(llm, in_one_piece))
    llm = llama(model, n_ctx=512, logits_all=True, flash_attn=True)
    with_flash = compare(reference, logits(llm, as_generated))
    write_json(
        STORED / "llama-cpp.json",
        {
            "what": "KL(f32 || llama.cpp) in nats over 3 prompts x 64 positions, the f32 logits being candle's",
            "version": f"llama-cpp-python {package.__version__}",
            "system": package.llama_print_system_info().decode().strip(),
            "settings": f"defaults: f16 KV cache, flash attention {flash}; 2 threads, context 512",
            "model_sha256": digest,
            "date": datetime.date.today().isoformat(),
            "positions": len(reference),
            "top": TOP,
            "gap": GAP,
            **default,
            "forced_tokens_in_one_batch": one_batch,
            "with_flash_attention": with_flash,
        },
    )
    print((STORED / "llama-cpp.json").read_text())


main()
