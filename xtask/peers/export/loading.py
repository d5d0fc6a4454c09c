"""What `_PipelineScheduleRuntime` does when it loads an order, without processes and modules."""

from torch.distributed.pipelining import schedules

# What PyTorch adds for sharded weights, and its own simulation does not know.
UNPLAYED = {schedules.UNSHARD, schedules.RESHARD, schedules.REDUCE_GRAD, schedules.WAIT_REDUCE_GRAD}

def load(stages, micros, name):
    runtime = object.__new__(schedules._PipelineScheduleRuntime)
    runtime.pp_group_size = runtime._num_stages = stages
    runtime._n_microbatches = micros
    runtime._stages = []
    runtime.pipeline_order = {}
    runtime._defer_pp_recv = runtime._defer_reduce_grad_wait = False
    runtime._max_active_stages, runtime._unshard_lookahead, runtime._max_outstanding_sends = 3, "full", None
    runtime._load_csv(name)
    order = runtime.pipeline_order_with_comms
    played = {rank: [action for action in row if action.computation_type not in UNPLAYED] for rank, row in order.items()}
    schedules._simulate_comms_compute(played, lambda stage: stage, stages)
