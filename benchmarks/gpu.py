"""Time of a training step on a CUDA device, launched and replayed: `python -m benchmarks.gpu`.

Prints one JSON line for each preset, batch and way. Two sizes of a batch show whether a step waits
for Python: then twice the images take no longer.
"""

import gc
import json
import sys
from dataclasses import replace

import torch

from benchmarks.timing import seconds
from benchmarks.workloads import bench_of, decoder_step
from npdraw.datasets.embedded import glyphs
from npdraw.presets import preset
from npdraw.runtime.settings import Runtime
from npdraw.training.recording import WARM_UP


def measure(name: str, batch: int, *, cuda_graphs: bool) -> dict[str, object]:
    """Return the milliseconds of a step of a preset in its first phase, and its peak memory."""
    gc.collect()  # recordings and their training refer to each other
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    config = preset(name)
    config = replace(config, decoder=replace(config.decoder, batch_size=batch))
    runtime = Runtime(device="cuda", cuda_graphs=cuda_graphs)
    step = decoder_step(bench_of(config, glyphs("train"), 2, runtime))

    def work() -> None:
        step(runtime)
        torch.cuda.synchronize()

    for _ in range(WARM_UP + 1):
        work()
    return {
        "preset": name,
        "batch": batch,
        "cuda_graphs": cuda_graphs,
        "milliseconds": round(1000 * seconds(work), 2),
        "memory_mb": round(torch.cuda.max_memory_reserved() / 1e6),
        "device": torch.cuda.get_device_name(),
    }


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("there is no CUDA device")
    for preset_name in ("mnist", "mnist-best"):
        for size in (128, 512):
            for recorded in (False, True):
                print(json.dumps(measure(preset_name, size, cuda_graphs=recorded)), flush=True)
