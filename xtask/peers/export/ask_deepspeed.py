"""DeepSpeed: reads ds_config.json, and cuts as PipelineModule does by type."""

import importlib.metadata
import json
import os

os.environ.setdefault("DS_ACCELERATOR", "cpu")

from deepspeed.runtime.config import DeepSpeedConfig
from deepspeed.runtime.tensor_parallel.config import get_tensor_parallel_config
from deepspeed.runtime.utils import partition_balanced

from asking import ask


def answer(case):
    with open("ds_config.json") as file:
        given = json.load(file)
    config = DeepSpeedConfig(dict(given))
    tensor_parallel = get_tensor_parallel_config(given)
    stages = config.pipeline["stages"]
    stages = 1 if stages == "auto" else stages
    layers = case["config"]["num_hidden_layers"]
    weights = [0] + [1] * layers + [0, 0]  # an embedding, layers, a norm and an output
    ends = partition_balanced(weights, stages)
    return {"tp": max(tensor_parallel.autotp_size, 1), "layers": [int(sum(weights[a:b])) for a, b in zip(ends, ends[1:])]}


ask(answer, importlib.metadata.version("deepspeed"))
