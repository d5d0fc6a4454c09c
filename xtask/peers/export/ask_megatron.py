"""Megatron-LM: parses the flags, validates them, makes the transformer's configuration, cuts it. A GPU is feigned."""

import importlib.metadata
import os
import sys
from types import SimpleNamespace

import torch

os.environ["RANK"] = "0"
torch.cuda.get_device_capability = lambda *_: (9, 0)
torch.cuda.device_count = lambda: 8
torch.cuda.get_device_properties = lambda *_: SimpleNamespace(major=9, minor=0, multi_processor_count=132, total_memory=80 << 30)

from megatron.core import parallel_state
from megatron.core.transformer.transformer_block import get_num_layers_to_build
from megatron.training.arguments import core_transformer_config_from_args, parse_args, validate_args

from asking import ask

# What the kernels of a GPU would be needed for.
WITHOUT_GPU = ["--transformer-impl", "local", "--no-rope-fusion", "--no-gradient-accumulation-fusion"]


def answer(case):
    os.environ["WORLD_SIZE"] = str(case["devices"])
    sys.argv = ["pretrain_gpt.py", *case["argv"], *WITHOUT_GPU]
    args = validate_args(parse_args(), {})
    config = core_transformer_config_from_args(args)
    stages = config.pipeline_model_parallel_size
    parallel_state._PIPELINE_GLOBAL_RANKS = list(range(stages))
    parallel_state.set_pipeline_model_parallel_world_size(stages)
    layers = []
    for stage in range(stages):
        parallel_state.set_pipeline_model_parallel_rank(stage)
        layers.append(get_num_layers_to_build(config, pp_rank=stage))
    return {"tp": config.tensor_model_parallel_size, "layers": layers}


ask(answer, importlib.metadata.version("megatron-core"))
