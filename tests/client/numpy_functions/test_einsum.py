"""einsum on random subscripts against numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit.client.evaluating import assert_like_numpy


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_subscripts(data: st.DataObject) -> None:
    letters = "abcde"
    lengths = {letter: data.draw(st.integers(0, 3)) for letter in letters}
    terms = data.draw(st.lists(st.text(letters, min_size=0, max_size=3), min_size=1, max_size=4))
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    used = sorted(set("".join(terms)))
    output = data.draw(st.permutations(used)) if used else []
    output = output[: data.draw(st.integers(0, len(output)))]
    ellipsis = data.draw(st.sampled_from(["", "..."]))
    widths = [data.draw(st.integers(0, 2)) if ellipsis else 0 for _ in terms]
    operands = []
    for term, width in zip(terms, widths, strict=True):
        shrunk = data.draw(st.sampled_from([False, False, True]))
        shape = [data.draw(st.sampled_from([1, 2])) if width else 1 for _ in range(width)]
        shape += [1 if shrunk and term.count(letter) == 1 else lengths[letter] for letter in term]
        operands.append(rng.normal(size=shape))
    for i, operand in enumerate(operands):  # the axes of an ellipsis broadcast: make them 1 or 2
        assert operand.ndim == widths[i] + len(terms[i])
    subscripts = ",".join(ellipsis + term for term in terms)
    explicit = f"{subscripts}->{ellipsis}{''.join(output)}"
    assert_like_numpy(lambda *arrays: np.einsum(explicit, *arrays), *operands)
    assert_like_numpy(lambda *arrays: np.einsum(subscripts, *arrays), *operands)
