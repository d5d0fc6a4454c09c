"""One round of llama.cpp, by its own llama_decode loop: a prompt, then a generation from an empty context.

usage: llama_bench.py MODEL THREADS PROMPT_TOKENS GENERATED_TOKENS
prints {"prompt": tokens/s, "generation": tokens/s}
"""

import ctypes
import json
import sys
import time

import llama_cpp as ll


def main():
    path, threads, prompt, generated = sys.argv[1], *map(int, sys.argv[2:5])
    quiet = ll.llama_log_callback(lambda *_: None)  # kept: llama.cpp holds its address
    ll.llama_log_set(quiet, ctypes.c_void_p())
    ll.llama_backend_init()
    model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
    params = ll.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = prompt + generated + 8, 512, 512
    params.n_threads = params.n_threads_batch = threads
    context = ll.llama_init_from_model(model, params)
    vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))

    def decode(tokens):
        array = (ll.llama_token * len(tokens))(*tokens)
        assert ll.llama_decode(context, ll.llama_batch_get_one(array, len(tokens))) == 0

    def clear():
        ll.llama_memory_clear(ll.llama_get_memory(context), True)

    def timed(work):
        clear()
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    ids = [(100 + 7 * i) % vocab for i in range(prompt)]

    def run_prompt():
        decode(ids)
        ll.llama_get_logits_ith(context, -1)

    def run_generation():
        for i in range(generated):
            decode([ids[i % prompt]])
            ll.llama_get_logits_ith(context, -1)

    timed(run_prompt)  # warm-up
    prompt_seconds = timed(run_prompt)
    clear()
    decode(ids[:1])
    generation_seconds = timed(run_generation)
    print(json.dumps({"prompt": prompt / prompt_seconds, "generation": generated / generation_seconds}))


main()
