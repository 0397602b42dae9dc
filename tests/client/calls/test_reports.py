"""Reports tell how each call was run."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.kit.client.local import LocalClient

import gradwire as gw


def small(x: Any) -> Any:
    return np.sum(x**2)


def test_reports_tell_of_each_call(service: LocalClient) -> None:
    with gw.reports() as outer:
        gw.grad(small)(np.ones(3))
        with gw.reports() as inner:
            gw.vmap(gw.grad(small))(np.ones((4, 3)))
            gw.grad(small).submit(np.ones(3)).result()
    gw.grad(small)(np.ones(3))
    assert [report.rows for report in outer] == [1, 4, 1]
    assert [report.rows for report in inner] == [4, 1]
    assert outer[0].request_bytes == service.sizes[0]
    assert outer[0].response_bytes > 24
    assert outer[0].executor == "reference"
    assert outer[0].server_version == gw.__version__
