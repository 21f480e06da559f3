"""Makes signed plugins, trust lists and registries for the tests."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pluginapi import (
    HookRegistry,
    PluginLoader,
    PluginRegistry,
    PluginSecurity,
    ResourceLimits,
    SecurityPolicy,
    SigningKeyPair,
    TrustKey,
    TrustList,
    define_standard_hooks,
)
from pluginapi.config import LimitsConfig
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.security import sign_plugin

_PLUGIN = '''\
"""A plugin made by a test."""
import asyncio
import time

from pluginapi import PluginRequirements, ResourceLimits, make_plugin

{top_level}
@make_plugin(
    name={name!r}, version={version!r}, author={author!r}, description={description!r}, {extra}
)
class Made:
    made = True

{methods}
'''


class Forge:
    """Write plugins below a directory, sign them with one key and keep one trust list."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plugins = root / "plugins"
        self.plugins.mkdir()
        self.key = SigningKeyPair.generate()
        self.trust_key = TrustKey.from_bytes(bytes(range(32)))
        self.trust_list_path = root / "trust.enc"
        self.state_dir = root / "state"
        TrustList.create(self.trust_list_path, self.trust_key, state_dir=self.state_dir)
        self._security = self.security()
        self._security.add_public_key(self.key.public_key)

    def security(self, *, only_trusted: bool = True) -> PluginSecurity:
        security = PluginSecurity(
            SecurityPolicy(only_trusted=only_trusted, trust_list_path=self.trust_list_path),
            trust_key=self.trust_key,
            state_dir=self.state_dir,
        )
        security.initialize()
        return security

    def registry(
        self,
        *,
        only_trusted: bool = True,
        ceiling: ResourceLimits | None = None,
        configs: Mapping[str, Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> PluginRegistry:
        limits = LimitsConfig(ceiling=ceiling) if ceiling else LimitsConfig()
        loader = PluginLoader(self.security(only_trusted=only_trusted), limits=limits.for_plugin)
        hooks = HookRegistry()
        define_standard_hooks(hooks)
        hooks.define("shout", str, str)
        hooks.define("whisper", str, str)
        return PluginRegistry(loader, hooks=hooks, configs=configs, **options)

    def plugin(
        self,
        name: str,
        methods: str = "",
        *,
        file: str | None = None,
        version: str = "1.0.0",
        author: str = "Tests",
        description: str | None = None,
        extra: str = "",
        top_level: str = "",
        sign: bool = True,
        trust: bool = True,
    ) -> Path:
        """Write a Python plugin; by default signed and trusted."""
        path = self.plugins / (file or f"{name}.py")
        path.write_text(
            _PLUGIN.format(
                name=name,
                version=version,
                author=author,
                description=description,
                extra=extra,
                top_level=top_level,
                methods=textwrap.indent(methods, "    "),
            )
        )
        if sign:
            self.sign(path)
        if trust:
            self.trust(path)
        return path

    def sign(self, path: Path, key: SigningKeyPair | None = None) -> None:
        file = PluginFile.open(path)
        envelope = sign_plugin(file, read_manifest(file), key or self.key)
        path.with_name(path.name + ".sig").write_bytes(envelope)

    def trust(self, path: Path) -> None:
        file = PluginFile.open(path)
        self._security.trust_plugin(file, read_manifest(file))
