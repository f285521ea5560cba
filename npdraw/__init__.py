"""npdraw: images drawn part by part (NP-DRAW, Zeng et al., UAI 2021)."""

__version__ = "0.1.0"
