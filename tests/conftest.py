"""What holds for every test: properties are checked on examples, not on how long they take on a busy machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("gradwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gradwire")
