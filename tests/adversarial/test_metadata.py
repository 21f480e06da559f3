"""Python plugins whose metadata is hostile, or not what they are when they run."""

from __future__ import annotations

import builtins
from pathlib import Path

import pytest

from pluginapi import AlreadyLoaded, HookError, InitializationError, PluginStatus

from .arena import Arena, check_error

TEMPLATE = """\
import sys
from pluginapi import PluginRequirements, ResourceLimits, make_plugin
MARK = {mark!r}
{head}
@make_plugin({arguments})
class Victim:
    def init(self, context):
        with open(MARK, "w") as file:
            file.write("init")
{tail}
"""
SOUND = "name='victim', version='1.0.0', author='a'"


def write(arena: Arena, arguments: str = SOUND, *, head: str = "", tail: str = "") -> Path:
    path = arena.plugins / "victim.py"
    path.write_text(
        TEMPLATE.format(mark=str(arena.mark), arguments=arguments, head=head, tail=tail)
    )
    return path


def trusted(arena: Arena, path: Path) -> Path:
    arena.forge.sign(path)
    arena.forge.trust(path)
    return path


async def control(arena: Arena) -> None:
    await arena.loads(trusted(arena, write(arena)))
    assert arena.mark.read_text() == "init"
    arena.mark.unlink()
    (arena.plugins / "victim.py.sig").unlink()


HOSTILE = {
    "import in the name": (
        "name=__import__('os').system('touch ' + MARK) or 'victim', version='1.0.0', author='a'",
        "manifest.not_literal",
    ),
    "exec": ("name='victim', version='1.0.0', author=exec('x')", "manifest.not_literal"),
    "open": (
        "name='victim', version='1.0.0', author=open(MARK, 'w').name",
        "manifest.not_literal",
    ),
    "variable": ("name=sys.argv[0], version='1.0.0', author='a'", "manifest.not_literal"),
    "lambda": ("name=(lambda: 'victim')(), version='1.0.0', author='a'", "manifest.not_literal"),
    "f-string": ("name=f'{MARK}', version='1.0.0', author='a'", "manifest.not_literal"),
    "walrus": ("name=(x := 'victim'), version='1.0.0', author='a'", "manifest.not_literal"),
    "comprehension": (
        "name=''.join(c for c in 'victim'), version='1.0.0', author='a'",
        "manifest.not_literal",
    ),
    "attribute chain": (
        "name='v'.__class__.__mro__[1].__name__, version='1.0.0', author='a'",
        "manifest.not_literal",
    ),
    "star arguments": ("**dict(name='victim')", "manifest.not_literal"),
    "huge power": (
        f"{SOUND}, resource_limits=ResourceLimits(max_heap_bytes=9**9**9)",
        "manifest.not_literal",
    ),
    "huge repetition": ("name='v'*10**12, version='1.0.0', author='a'", "manifest.not_literal"),
    "10 MB literal": (
        f"name='{'v' * 10_000_000}', version='1.0.0', author='a'",
        "manifest.too_large",
    ),
    "long literal": (f"name='{'v' * 900_000}', version='1.0.0', author='a'", "manifest.too_large"),
    "deep nesting": (
        f"name={'(' * 5000}'victim'{')' * 5000}, version='1.0.0', author='a'",
        "manifest.too_deep",
    ),
    "deep unary": (f"name='victim', version='1.0.0', author={'-' * 50_000}1", "manifest.too_deep"),
    "deep attributes": (
        f"name='victim', version='1.0.0', author=a{'.b' * 100_000}",
        "manifest.too_deep",
    ),
    "null byte": ("name='vic\0tim', version='1.0.0', author='a'", "manifest.syntax"),
    "terminal escape": (
        "name='victim', version='1.0.0', author='a\\x1b[2J'",
        "manifest.invalid",
    ),
    "path as name": ("name='../victim', version='1.0.0', author='a'", "manifest.name"),
    "version": ("name='victim', version='latest', author='a'", "manifest.version"),
    "no author": ("name='victim', version='1.0.0'", "manifest.field"),
    "twice": (f"{SOUND}, name='other'", "manifest.field"),
}


@pytest.mark.parametrize(("arguments", "code"), HOSTILE.values(), ids=HOSTILE)
async def test_hostile_metadata(arena: Arena, arguments: str, code: str) -> None:
    await control(arena)
    path = write(arena, arguments)
    codes = (code, "manifest.not_literal", "manifest.syntax") if "deep" in code else (code,)
    error = await arena.refused(path, *codes)
    assert len(str(error)) < 2000
    await arena.host_refuses(path, *codes)
    said = arena.command("inspect", path)
    assert said["error"]["code"] == error.code
    assert not arena.mark.exists()


CHANGED = "Victim.__plugin_manifest__ = dataclasses.replace(Victim.__plugin_manifest__, "
DISAGREEING = {
    "another name": CHANGED + "name='admin')",
    "another version": CHANGED + "version=pluginapi.PluginVersion(9, 0, 0))",
    "more rights": CHANGED
    + "requirements=PluginRequirements(context_read=('DatabaseConnection',)))",
    "higher limits": CHANGED + "resource_limits=ResourceLimits(max_cpu_time_ms=100000))",
    "no class": "del Victim",
    "undecorated class": "class Victim:\n    pass",
    "not a class": "Victim = 'victim'",
    "no manifest": "del Victim.__plugin_manifest__",
    "shadowed make_plugin": None,
}


@pytest.mark.parametrize("tail", DISAGREEING.values(), ids=DISAGREEING)
async def test_a_manifest_that_disagrees_with_the_plugin(arena: Arena, tail: str | None) -> None:
    await control(arena)
    if tail is None:
        other = "name='admin', version='1.0.0', author='a'"
        head = (
            "import builtins\nreal = make_plugin\n"
            f"globals()['make_' + 'plugin'] = lambda **_: real({other})"
        )
        path = write(arena, head=head)
    else:
        path = write(arena, head="import dataclasses, pluginapi", tail=tail)
    trusted(arena, path)
    error = await arena.refused(path, "manifest.mismatch")
    assert error.plugin == "victim"
    await arena.host_refuses(path, "manifest.mismatch")
    assert not arena.mark.exists(), "init ran"


async def test_a_name_of_another_plugin_in_a_trusted_file(arena: Arena) -> None:
    """A trusted plugin cannot take the place of another that is loaded."""
    registry = arena.registry()
    await registry.load_plugin(arena.bystander)
    impostor = arena.armed("bystander", file="impostor.py")
    before = registry.get_plugin_info("bystander")
    with pytest.raises(AlreadyLoaded) as caught:
        await registry.load_plugin(impostor)
    check_error(caught.value, ("registry.already_loaded",))
    assert registry.get_plugin_info("bystander") == before
    assert arena.steps() == ""
    await registry.unload_all()
    assert registry.get_plugin_info("bystander").status is PluginStatus.AVAILABLE


async def test_a_plugin_cannot_reach_the_hooks_after_a_failed_start(arena: Arena) -> None:
    path = write(
        arena,
        tail="""
    def register_hooks(self, hooks):
        import builtins
        builtins.stolen_scope = hooks
        hooks.register("on_request", 0, self.spy)
        raise RuntimeError("now I am free")
    def spy(self, request):
        with open(MARK, "w") as file:
            file.write("spied")
""",
    )
    trusted(arena, path)
    registry = arena.registry()
    with pytest.raises(InitializationError, match="now I am free"):
        await registry.load_plugin(path)
    scope = builtins.__dict__.pop("stolen_scope")
    with pytest.raises(HookError) as caught:
        scope.register("on_request", 0, print)
    check_error(caught.value, ("hook.closed",))
    assert len(registry.hooks.hook("on_request")) == 0
