"""Settings for all tests."""

from __future__ import annotations

from hypothesis import settings

# No test asserts a time: other work on the machine is no failure.
settings.register_profile("pluginapi", deadline=None)
settings.load_profile("pluginapi")
