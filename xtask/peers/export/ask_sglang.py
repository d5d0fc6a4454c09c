"""SGLang: parses the flags and the YAML, cuts the layers."""

import importlib.metadata
import json
import os

from sglang.srt.distributed.utils import get_pp_indices
from sglang.srt.server_args import prepare_server_args

from asking import ask


def answer(case):
    args = prepare_server_args([*case["argv"], "--device", "cpu", "--skip-tokenizer-init"])
    with open("model/config.json") as file:
        layers = json.load(file)["num_hidden_layers"]
    ends = [get_pp_indices(layers, rank, args.pp_size) for rank in range(args.pp_size)]
    return {"tp": args.tp_size, "layers": [end - start for start, end in ends]}


ask(answer, importlib.metadata.version("sglang"))
