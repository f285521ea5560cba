"""What more steps should bring, from the curve of a training's validations (docs/training.md)."""

from collections.abc import Sequence

import numpy as np

LATE = 0.9
"""Share of the steps after which the best score has to lie, for more steps to bring anything."""


def gain_if_doubled(curve: Sequence[tuple[int, float]]) -> float | None:
    """Return by how much twice the steps should lower the score at the end, at least 0.

    None if there are fewer than two validations after the first step.

    `curve` are the steps, rising, and scores of a training's validations; lower scores are better.
    Each doubling of the steps is taken to gain the same share of what the one before gained: if the
    best score fell by a from a quarter of the steps to half of them, and by b from there to the
    end, the next gain is b * b / a, and at most b. If the best score is older than the last tenth
    of the steps, the training overfits, and 0 is returned.
    """
    points = [(step, score) for step, score in curve if step > 0]
    if len(points) < 2:
        return None
    steps, scores = np.array(points).T
    best = np.minimum.accumulate(scores)
    end = steps[-1]
    if steps[scores.argmin()] < LATE * end:
        return 0.0
    at = [float(np.interp(np.log(end * part), np.log(steps), best)) for part in (0.25, 0.5, 1)]
    earlier, later = at[0] - at[1], at[1] - at[2]
    return later * min(1.0, later / earlier) if earlier > 0 else later
