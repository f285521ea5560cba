"""Measure the speed of every stage on this machine, one JSON line each: `make bench`.

Images are the embedded glyphs; sizes are those of the presets `mnist` and `mnist-paper`.
"""

from benchmarks.ceiling import ceilings
from benchmarks.stages import run
from npdraw.runtime.settings import Runtime

measured = ceilings(Runtime().start())
run("mnist", "", measured)
run("mnist-paper", "mnist-paper/", measured)
