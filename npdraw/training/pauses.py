"""When a training pauses to validate and to draw samples, on how many held-out images; its end."""


def is_due(step: int, every: int) -> bool:
    """Return whether samples are due: at steps 0, 1, 2, 4, 8, ..., and multiples of `every`."""
    return step % every == 0 or (step < every and step & (step - 1) == 0)


WATCHED_SHARE = 0.05
"""Share of a training's time for validations, roughly."""

FEWEST_WATCHED = 64
"""Held-out images that validations use at least, if there are as many."""


def watched_count(held_out: int, seen: int, cost: int) -> int:
    """Return how many held-out images the validations during training use.

    A training that sees `seen` images passes them through the model three times, since gradients
    take as long as two passes; eleven validations pass theirs `cost` times each.
    """
    affordable = round(WATCHED_SHARE * 3 * seen / (11 * cost))
    return min(held_out, max(FEWEST_WATCHED, affordable))


def out_of_patience(step: int, best_step: int, every: int, patience: int) -> bool:
    """Return whether `patience` validations, one after `every` steps, were not better than before.

    `best_step` had the best one. Never with a patience of 0.
    """
    return 0 < patience * every <= step - best_step
