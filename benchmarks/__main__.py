"""Measure the speed of every stage on this machine, one JSON line each: `make bench`.

Sizes are those of the presets `mnist`, `cifar10` and `mnist-paper`; images are the embedded glyphs,
and in colour samples of the shipped `cifar10`.
"""

from benchmarks.ceiling import ceilings
from benchmarks.stages import run
from npdraw.runtime.settings import Runtime

device = Runtime().start()
measured = ceilings(device, Runtime().dtype(device))
run("mnist", "", measured)
run("cifar10", "cifar10/", measured)
run("mnist-paper", "mnist-paper/", measured)
