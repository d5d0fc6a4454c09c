"""vLLM: parses the flags and the YAML, makes the engine's configuration, cuts the layers. No GPU: as if on CPUs."""

import importlib.metadata
import os

os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"

import vllm.platforms
from vllm.platforms.cpu import CpuPlatform

vllm.platforms._current_platform = CpuPlatform()

from vllm.distributed.utils import get_pp_indices
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.common.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

from asking import ask

PARSER = make_arg_parser(FlexibleArgumentParser())


def answer(case):
    model = os.path.abspath("model")
    args = PARSER.parse_args(["--model", model, *case["argv"], "--skip-tokenizer-init"])
    config = AsyncEngineArgs.from_cli_args(args).create_engine_config()
    parallel, layers = config.parallel_config, config.model_config.hf_config.num_hidden_layers
    ends = [get_pp_indices(layers, rank, parallel.pipeline_parallel_size) for rank in range(parallel.pipeline_parallel_size)]
    from_file = PARSER.parse_args(["--model", model, "--config", os.path.abspath("vllm.yaml")])
    if from_file.tensor_parallel_size != args.tensor_parallel_size or from_file.max_model_len != args.max_model_len:
        raise ValueError("the YAML says other than the flags")
    return {"tp": parallel.tensor_parallel_size, "layers": [end - start for start, end in ends]}


ask(answer, importlib.metadata.version("vllm"))
