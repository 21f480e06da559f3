"""Shared libraries that run too early, lack what they need or say two things of themselves."""

from __future__ import annotations

import asyncio
import json
import os
import struct

import pytest

from pluginapi import AbiIncompatible, InitializationError, LoadError, PluginError, PluginStatus
from pluginapi.metadata.native_blob import encode_native_blob

from .arena import Arena, check_error


async def test_a_constructor_runs_only_when_it_is_trusted(arena: Arena) -> None:
    path = arena.native("constructor.c", f'-DMARK_PATH="{arena.mark}"', trust=False)
    await arena.refused(path, "signature.missing")
    await arena.host_refuses(path, "signature.missing")
    arena.forge.sign(path)
    await arena.refused(path, "trust.not_listed")
    for command in ("explain", "list", "inspect", "hash", "verify"):
        target = arena.plugins if command == "list" else path
        options = arena.state_option if command in {"explain", "list"} else ()
        if command == "verify":
            public = arena.root / "signer.pub"
            public.write_text(arena.forge.key.public_key.to_pem())
            options = ("--key", str(public))
        arena.run(command, target, *options)
        assert not arena.mark.exists(), f"pluginapi {command} ran the library"
    # The control: trusted, the constructor does run.
    arena.forge.trust(path)
    assert not arena.mark.exists()
    await arena.loads(path)
    assert arena.mark.read_text() == "the constructor ran\n"


DEFECTS = {
    "-DPROBE_ABI_MAJOR=2": "abi.incompatible",
    "-DPROBE_ABI_MAJOR=0": "abi.incompatible",
    "-DPROBE_STRUCT_SIZE=16": "abi.plugin_struct",
    "-DPROBE_STRUCT_SIZE=0": "abi.plugin_struct",
    "-DPROBE_STRUCT_SIZE=(sizeof(pa_plugin)-1)": "abi.plugin_struct",
    "-DPROBE_WITHOUT_PLUGIN=1": "abi.plugin_struct",
    "-DPROBE_WITHOUT_INIT=1": "abi.plugin_struct",
    '-DPROBE_NAME="test.other"': "abi.identity",
    '-DPROBE_VERSION="1.2.4"': "abi.identity",
}


async def test_a_sound_probe_loads(arena: Arena) -> None:
    registry = arena.registry()
    assert await registry.load_plugin(arena.native("probe.c")) == "test.probe"
    assert await registry.hooks.execute("echo", {"a": 1}) == {"a": 1}
    assert (await registry.unload_all()).failed == {}
    assert registry.hooks.get_hooks("echo")[0].handlers == ()


async def test_a_larger_structure_of_a_later_version_loads(arena: Arena) -> None:
    await arena.loads(arena.native("probe.c", "-DPROBE_LARGER"))


@pytest.mark.parametrize(("flag", "code"), DEFECTS.items())
async def test_a_structure_that_breaks_the_abi(arena: Arena, flag: str, code: str) -> None:
    path = arena.native("probe.c", flag)
    error = await arena.refused(path, code)
    assert isinstance(error, AbiIncompatible)
    assert error.plugin == "test.probe"
    await arena.host_refuses(path, code)


async def test_a_library_without_create_plugin(arena: Arena) -> None:
    path = arena.native("no_symbol.c")
    await arena.refused(path, "abi.symbol_missing")
    await arena.host_refuses(path, "abi.symbol_missing")


async def test_a_library_that_the_linker_refuses(arena: Arena) -> None:
    source = arena.root / "broken.c"
    source.write_text(
        '#include "pluginapi.h"\n'
        'PA_MANIFEST({"name": "broken", "version": "1.0.0", "author": "a"});\n'
        "extern int nowhere(void);\nint use(void);\nint use(void) { return nowhere(); }\n"
    )
    path = arena.native(str(source))
    error = await arena.refused(path, "abi.load_failed")
    assert isinstance(error, LoadError)


@pytest.mark.parametrize("where", ["create", "init", "init-context", "register", "register-null"])
async def test_a_native_plugin_that_fails_to_start(arena: Arena, where: str) -> None:
    path = arena.native("probe.c")
    registry = arena.registry(configs={"test.probe": {"fail": where}})
    with pytest.raises((LoadError, InitializationError)) as caught:
        await registry.load_plugin(path)
    check_error(caught.value, ("abi.create_failed", "lifecycle.init_failed"))
    assert not registry.is_loaded("test.probe")
    info = registry.get_plugin_info("test.probe")
    assert (info.status, info.error) == (PluginStatus.FAILED, caught.value)
    assert all(hook.handlers == () for hook in registry.hooks.get_hooks())
    # The control, and the proof that the name is free again.
    registry.configs.clear()
    await registry.load_plugin(path)
    await registry.unload_all()


async def test_a_manifest_for_another_abi(arena: Arena) -> None:
    path = arena.native("constructor.c", f'-DMARK_PATH="{arena.mark}"', trust=False)
    data = path.read_bytes()
    at = data.index(b"\x89PLUGINAPI-MAN") + 17
    assert data[at] == 1
    path.write_bytes(data[:at] + b"\x02" + data[at + 1 :])
    arena.forge.sign(path)
    arena.forge.trust(path)
    await arena.refused(path, "abi.incompatible")
    assert not arena.mark.exists()
    path.write_bytes(data)
    arena.forge.sign(path)
    arena.forge.trust(path)
    await arena.loads(path)
    assert arena.mark.exists()


async def test_two_manifests_in_one_library(arena: Arena) -> None:
    path = arena.native("constructor.c", f'-DMARK_PATH="{arena.mark}"')
    sound = path.read_bytes()
    fields = {"name": "somebody.else", "version": "1.0.0", "author": "a"}
    path.write_bytes(sound + encode_native_blob(fields))
    await arena.refused(path, "manifest.ambiguous")
    await arena.host_refuses(path, "manifest.ambiguous")
    path.write_bytes(sound)
    await arena.loads(path)


async def test_no_manifest_in_a_library(arena: Arena) -> None:
    source = arena.root / "bare.c"
    source.write_text("int nothing(void);\nint nothing(void) { return 0; }\n")
    path = arena.native(str(source), trust=False)
    await arena.refused(path, "manifest.missing")
    await arena.host_refuses(path, "manifest.missing")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": "x", "version": "1.0.0", "author": "a"}, "signature.missing"),  # The control.
        ({"name": "x", "version": "1.0.0"}, "manifest.field"),
        ({"name": "../x", "version": "1.0.0", "author": "a"}, "manifest.name"),
        ({"name": "x", "version": "one", "author": "a"}, "manifest.version"),
        ({"name": "x", "version": "1.0.0", "author": "a", "run": "sh"}, "manifest.field"),
        ({"name": "x", "version": "1.0.0", "author": ["a"]}, "manifest.invalid"),
    ],
)
async def test_malformed_native_manifests(
    arena: Arena, fields: dict[str, object], code: str
) -> None:
    path = arena.native("constructor.c", f'-DMARK_PATH="{arena.mark}"', trust=False)
    data = path.read_bytes()
    start = data.index(b"\x89PLUGINAPI-MAN")
    text = json.dumps(fields).encode()
    blob = b"\x89PLUGINAPI-MAN\r\n\x01\x01\x00\x00" + struct.pack("<I", len(text)) + text
    blob += b"\x1aPLGEND\n"
    # Written over the marker alone the first one is gone; the new one goes to the end.
    path.write_bytes(data[:start] + b"\0" + data[start + 1 :] + blob)
    await arena.refused(path, code)
    assert not arena.mark.exists()


@pytest.mark.parametrize(
    "header", [b"MZ" + bytes(126), b"\xcf\xfa\xed\xfe" + bytes(124), b"\x7fELF"]
)
async def test_libraries_of_other_systems_and_stumps(arena: Arena, header: bytes) -> None:
    fields = {"name": "foreign", "version": "1.0.0", "author": "a"}
    path = arena.plugins / "foreign.so"
    path.write_bytes(header + encode_native_blob(fields))
    await arena.refused(path, "file.format", "file.truncated")


async def test_a_native_init_that_hangs_is_given_up(arena: Arena) -> None:
    waits, releases = os.pipe()
    try:
        registry = arena.registry(
            init_timeout=0.3, configs={"test.probe": {"fail": "init-block", "fd": waits}}
        )
        with pytest.raises(PluginError) as caught:
            await registry.load_plugin(arena.native("probe.c"))
        check_error(caught.value, ("lifecycle.init_timeout",))
        assert registry.plugin_count() == 0
        assert await registry.load_plugin(arena.bystander) == "bystander"
        await registry.unload_all()
        os.write(releases, b"g")
        # The thread ends by itself; nothing that it does any more reaches the host.
        await asyncio.sleep(0.05)
        assert all(hook.handlers == () for hook in registry.hooks.get_hooks())
    finally:
        os.close(waits)
        os.close(releases)
