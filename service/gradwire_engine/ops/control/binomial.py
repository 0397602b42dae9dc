"""How many steps must run so that a loop can be gone through backwards from few snapshots: binomial checkpointing.

With s snapshots and at most r runs of any step, a loop of up to beta(s, r) = C(s + r, s) steps can be reversed, and the
fewest steps that takes in all are t(l, s) = r l - beta(s + 1, r - 1), for the least r that suffices. (Griewank and
Walther, "Algorithm 799: revolve", ACM TOMS 26(1), 2000.)
"""

from __future__ import annotations

import math


def reach(snapshots: int, repetitions: int) -> int:
    """beta: how many steps can be reversed, if each may run so often."""
    return math.comb(snapshots + repetitions, snapshots) if repetitions >= 0 else 0


def repetitions(steps: int, snapshots: int) -> int:
    """How often a step must run at most, with so many snapshots, the state at the beginning being one of them."""
    r = 0
    while reach(snapshots, r) < steps:
        r += 1
    return r


def least_steps(steps: int, snapshots: int) -> int:
    """t: how many steps must run in all so that each can be followed by its reverse, which itself is not counted."""
    if steps <= 1:
        return 0
    r = repetitions(steps, snapshots)
    return r * steps - reach(snapshots + 1, r - 1)
