"""torchtitan: reads the flags, holds the configuration against the model, cuts it, loads the order."""

import importlib.metadata
import os
import sys

import torchtitan.components.quantization.float8 as float8
from torchtitan.config.manager import ConfigManager
from torchtitan.distributed import pipeline_parallel
from torchtitan.distributed.parallel_dims import ParallelDims

import loading
from asking import ask

float8.has_cuda_capability = lambda *_: True  # a GPU is feigned: one of its configurations asks for float8


def answer(case):
    sys.path.insert(0, os.getcwd())
    sys.modules.pop("headsaw_cut", None)
    try:
        config = ConfigManager().parse_args(case["argv"])
    finally:
        sys.path.pop(0)
    p = config.parallelism
    dims = ParallelDims(
        dp_replicate=p.data_parallel_replicate_degree,
        dp_shard=p.data_parallel_shard_degree,
        cp=p.context_parallel_degree,
        tp=p.tensor_parallel_degree,
        pp=p.pipeline_parallel_degree,
        ep=p.expert_parallel_degree,
        world_size=case["devices"],
    )
    model = config.model_spec.model
    model.update_from_config(config=config)
    divisor = dims.seq_len_divisor
    if config.training.seq_len % divisor:
        raise ValueError(f"training.seq_len {config.training.seq_len} is not divisible by {divisor}")  # as Trainer does
    layers = [len(model.layers)]
    if p.pipeline_parallel_degree > 1:
        stages, count, first, last = pipeline_parallel._get_pipeline_metadata(dims, p, model)
        parts = p.module_fqns_per_model_part or pipeline_parallel._generate_llm_fqn_per_model_part(stages, count, first, last)
        layers = [sum(name.startswith("layers.") for name in part) for part in parts]
        micros = config.training.local_batch_size // p.pipeline_parallel_microbatch_size
        loading.load(len(parts), micros, p.pipeline_parallel_schedule_csv)
    return {"tp": p.tensor_parallel_degree, "layers": layers}


ask(answer, importlib.metadata.version("torchtitan"))
