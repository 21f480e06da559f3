"""A host under attack: what every refusal is checked for, end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from native_build import compile_plugin
from pluginapi import (
    HookRegistry,
    PluginError,
    PluginHost,
    PluginLoader,
    PluginRegistry,
    PluginStatus,
    SecurityError,
    define_standard_hooks,
)
from pluginapi.error_codes import CODES
from support import Forge

# Every step that a plugin takes leaves a file, from its first line to its shutdown.
HEAD = """
def step(word):
    with open({mark!r}, "a") as file:
        file.write(word + " ")
step("top")
"""
STEPS = """
def __init__(self):
    step("made")
def init(self, context):
    step("init")
def register_hooks(self, hooks):
    hooks.register("on_request", 200, lambda request: step("called"))
    step("hooks")
def shutdown(self):
    step("shutdown")
"""


# What tests/native_plugins/probe.c registers on.
PROBE_HOOKS = (
    *("echo", "name", "unchanged", "stop", "stop_bare", "status", "fail", "big", "garbage"),
    *("alloc", "keep", "misuse", "context_get", "context_set", "context_has", "log", "block"),
    *("crowd", "thread", "register"),
)


class Arena:
    """One directory of plugins, the trust list that judges them, and ways to ask for a load.

    The bystander is a sound plugin that must stay loadable whatever is done to its neighbours.
    """

    def __init__(self, root: Path) -> None:
        self.forge = Forge(root)
        self.root = root
        self.plugins = self.forge.plugins
        self.mark = root / "ran"
        self.bystander = self.forge.plugin("bystander")
        key_file = root / "trust.key"
        key_file.write_bytes(bytes(range(32)))
        key_file.chmod(0o600)
        self.key_file = key_file
        self.config = root / "pluginapi.toml"
        self.config.write_text(
            "[plugins]\ndirectory = 'plugins'\n"
            "[security]\ntrust_list_path = 'trust.enc'\nstate_dir = 'state'\n"
            "trust_key_source = 'file:trust.key'\ntrust_key_form = 'raw'\n"
            "max_plugin_bytes = 16777216\n[monitoring]\nenabled = false\n"
        )

    def armed(
        self,
        name: str = "victim",
        *,
        file: str | None = None,
        top_level_end: str = "",
        **options: Any,
    ) -> Path:
        """Write a Python plugin that marks every step it takes; signed and trusted by default."""
        head = HEAD.format(mark=str(self.mark)) + top_level_end
        return self.forge.plugin(name, STEPS, file=file, top_level=head, **options)

    def native(self, source: str, *flags: str, name: str = "native", trust: bool = True) -> Path:
        """Build a C plugin of tests/native_plugins; signed and trusted by default."""
        path = compile_plugin(source, self.plugins / f"{name}.so", *flags)
        if trust:
            self.forge.sign(path)
            self.forge.trust(path)
        return path

    def registry(self, **options: Any) -> PluginRegistry:
        hooks = HookRegistry()
        define_standard_hooks(hooks)
        for name in PROBE_HOOKS:
            hooks.define(name, Any, Any)
        return PluginRegistry(PluginLoader(self.forge.security()), hooks=hooks, **options)

    async def refused(
        self, path: Path, *codes: str, ran: str = "", control: bool = True
    ) -> PluginError:
        """Check that a load is refused with one of the codes, and that nothing else happened.

        Args:
            path: The plugin.
            codes: What the one error may be called.
            ran: Which steps of the plugin may have run, when it is refused that late.
            control: Check that the bystander loads in the same registry.
        """
        assert set(codes) <= CODES.keys()
        before = self.trusted()
        registry = self.registry()
        with pytest.raises(PluginError) as caught:
            await registry.load_plugin(path)
        error = caught.value
        check_error(error, codes)
        assert self.steps() == ran
        assert registry.plugin_count() == 0
        assert registry.list_loaded_plugins() == []
        assert len(registry.hooks.hook("on_request")) == 0
        for info in registry.get_all_plugins():
            assert info.error is not None
            assert info.error.code == error.code
            untrusted = isinstance(error, SecurityError)
            assert info.status is (PluginStatus.UNTRUSTED if untrusted else PluginStatus.FAILED)
        if control:
            assert await registry.load_plugin(self.bystander) == "bystander"
            assert (await registry.unload_all()).failed == {}
        assert self.trusted() == before
        return error

    async def host_refuses(self, path: Path, *codes: str, ran: str = "") -> None:
        """Check the same through a PluginHost that is made from a configuration file."""
        async with PluginHost.from_config(self.config) as host:
            assert host.start_report is not None
            assert host.start_report.loaded == ("bystander",)
            assert list(host.start_report.refused) == [path]
            check_error(host.start_report.refused[path], codes)
            assert self.steps() == ran

    async def loads(self, path: Path) -> None:
        """Check that a plugin loads and unloads: the control of a refusal."""
        registry = self.registry()
        name = await registry.load_plugin(path)
        assert registry.is_loaded(name)
        assert (await registry.unload_all()).failed == {}

    async def sound_ones_run(self) -> None:
        """Check that an armed plugin runs when it is sound: then the marks are no illusion."""
        path = self.armed("control")
        await self.runs(path)
        path.unlink()
        path.with_name(path.name + ".sig").unlink()

    async def runs(self, path: Path) -> None:
        """Check that this armed plugin takes all of its steps."""
        self.mark.unlink(missing_ok=True)
        await self.loads(path)
        assert self.steps() == "top made init hooks shutdown "
        self.mark.unlink()

    def steps(self) -> str:
        return self.mark.read_text() if self.mark.exists() else ""

    def trusted(self) -> tuple[bytes, dict[str, Any]]:
        """Return the bytes and the content of the trust list."""
        trust_list = self.forge.security().trust_list
        assert trust_list is not None
        return self.forge.trust_list_path.read_bytes(), trust_list.to_dict()

    def command(self, *arguments: str | Path, code: int = 1) -> Any:
        """Run the installed command with --json and return what it printed."""
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the installed command; commands that take a trust list get the arena's."""
        environment = {
            **os.environ,
            "PLUGINAPI_TRUST_LIST": str(self.forge.trust_list_path),
            "PLUGINAPI_TRUST_KEY": bytes(range(32)).hex(),
        }
        return subprocess.run(
            [str(Path(sys.executable).with_name("pluginapi")), *map(str, arguments)],
            env=environment,
            cwd=self.root,
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )

    @property
    def state_option(self) -> tuple[str, str]:
        return "--state-dir", str(self.forge.state_dir)


def check_error(error: PluginError, codes: tuple[str, ...]) -> None:
    """Check that an error says what was found, under a stable code, and what to do."""
    assert error.code in codes, f"{error.code}: {error}"
    assert error.code in CODES
    assert len(error.message) >= 10
    assert error.hint
    assert "Traceback" not in str(error)
