"""Speed of every stage on this machine, one JSON line each: `make bench`.

Images are the embedded glyphs, sizes those of the presets `mnist` and `mnist-paper`.
"""

from npdraw.stages.runtime import Runtime
from tests.benchmarks.ceiling import ceilings
from tests.benchmarks.stages import run

found = ceilings(Runtime().start())
run("mnist", "", found)
run("mnist-paper", "mnist-paper/", found)
