"""Makes the fixtures beside it: blocks of each quantised type, and what llama.cpp's own Python package reads in them.

    pip install gguf==0.19.0 numpy && python make.py

`NAME.blocks`: random numbers as `gguf.quants.quantize` rounds them, where it can, then blocks of random bytes whose scales
in half precision are small. `NAME.f32`: `gguf.quants.dequantize` of them, single precision, little endian.
"""

import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf import quants

HERE = pathlib.Path(__file__).parent
HALVES = {Type.Q4_1: [0, 2], Type.Q5_1: [0, 2], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}

for kind in [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.Q4_K, Type.Q5_K, Type.Q6_K]:
    random = np.random.default_rng(int(kind))
    width, size = GGML_QUANT_SIZES[kind]
    count = 512 // width
    made = []
    try:
        made.append(quants.quantize(random.standard_normal((count, width), np.float32), kind))
    except NotImplementedError:
        pass
    raw = random.integers(0, 256, (count, size), np.uint8)
    for at in HALVES.get(kind, [0]):
        halves = random.uniform(-0.1, 0.1, (count, 1)).astype(np.float16)
        raw[:, at : at + 2] = halves.view(np.uint8)
    blocks = np.concatenate([*made, raw])
    name = kind.name.lower()
    (HERE / f"{name}.blocks").write_bytes(blocks.tobytes())
    (HERE / f"{name}.f32").write_bytes(quants.dequantize(blocks, kind).astype("<f4").tobytes())
