"""Referees orders: reads {name: text} and writes {name: null, or why it is refused}, by torch.distributed.pipelining.

A text has a row a device. Devices of a stage share its work, so their rows must be the same: a stage is one rank here.
"""

import contextlib
import io
import json
import sys
from types import SimpleNamespace

import torch
from torch.distributed.pipelining import schedules


def rows(text):
    """The actions of each stage, read by PyTorch."""
    order = {}
    for line in text.splitlines():
        actions = [schedules._Action.from_str(cell) for cell in line.split(",")]
        written = ",".join(str(action) for action in actions)
        if written != line:
            raise ValueError(f"{line} reads as {written}")
        stage = actions[0].stage_index
        if order.setdefault(stage, actions) != actions:
            raise ValueError(f"two devices of stage {stage} differ")
    return order


def referee(text):
    """Raises where PyTorch refuses the order, or takes the micro-batches otherwise."""
    order = rows(text)
    stages = len(order)
    micros = 1 + max(action.microbatch_index for action in order[0])
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a schedule that does not go on
        schedules._simulate_comms_compute(order, lambda stage: stage, stages)
    request = SimpleNamespace(_num_stages=stages, _n_microbatches=micros)
    gpipe = schedules.ScheduleGPipe._get_pipeline_order(request)
    for stage, actions in order.items():
        ours, theirs = forwards(actions), forwards(gpipe[stage])
        if ours != theirs:
            raise ValueError(f"forwards of stage {stage} are {ours}, ScheduleGPipe's {theirs}")


def forwards(actions):
    return [str(action) for action in actions if action is not None and action.computation_type == schedules.FORWARD]


def verdict(text):
    try:
        referee(text)
    except (ValueError, RuntimeError) as error:
        return str(error)
    return None


texts = json.load(sys.stdin)
json.dump({"torch": torch.__version__, "refused": {name: verdict(text) for name, text in texts.items()}}, sys.stdout)
