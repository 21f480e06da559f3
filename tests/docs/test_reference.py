"""Check that the reference leaves nothing out that the library offers."""

from __future__ import annotations

import re
from pathlib import Path

import pluginapi
from pluginapi import errors
from pluginapi.config import HostConfig

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_every_public_name_is_in_the_api_reference() -> None:
    documented = set(
        re.findall(
            r"^\.\. auto(?:class|function|data):: (\w+)$",
            (REFERENCE / "api.md").read_text(),
            re.MULTILINE,
        )
    )
    documented |= set(errors.__all__)  # A page of their own, made from the module.
    assert set(pluginapi.__all__) - {"__version__"} <= documented


def test_every_configuration_key_is_in_its_reference() -> None:
    page = (REFERENCE / "configuration.md").read_text()
    config = HostConfig()
    tables = (config.plugins, config.security, config.monitoring, config.lifecycle)
    keys = {name for table in tables for name in type(table).__dataclass_fields__}
    keys |= set(config.limits.default.to_dict()) | set(type(config.sandboxing).__dataclass_fields__)
    sandboxing = config.sandboxing
    parts = {"cgroups", "filesystem", "network"}
    for part in parts:
        keys |= set(type(getattr(sandboxing, part)).__dataclass_fields__)
        assert f"`[sandboxing.{part}]`" in page
    missing = {key for key in (keys | {"trust_key_form"}) - parts if f"`{key}`" not in page}
    assert "directory" in keys
    assert not missing


def test_the_generated_pages_have_their_markers() -> None:
    assert "<!-- generated: command-line -->" in (REFERENCE / "command-line.md").read_text()
    assert "<!-- generated: error-codes -->" in (REFERENCE / "errors.md").read_text()
