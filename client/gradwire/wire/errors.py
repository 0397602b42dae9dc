"""What this package refuses."""

from __future__ import annotations

from gradwire_engine.errors import EngineError


class WireError(EngineError):
    """Bytes that are not the message they should be; `path` names the field, for example ``inputs[2].data``."""

    reason = "MALFORMED_REQUEST"
