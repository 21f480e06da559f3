"""Write directories of signed plugins for the benchmarks, and say what a bare loop verifies."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pluginapi import (
    PluginManifest,
    PluginSecurity,
    PluginVersion,
    SecurityPolicy,
    SigningKeyPair,
    TrustedPluginEntry,
)
from pluginapi.manifest import PluginKind
from pluginapi.metadata.native_blob import encode_native_blob
from pluginapi.security import PluginSignature, sign_plugin

__all__ = ["KINDS", "SignedDirectory", "write_directory"]

_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_ELF_IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")

_PYTHON = """
from pluginapi import make_plugin

@make_plugin(name="{name}", version="{version}", author="Benchmarks")
class Bench:
    pass
"""
_FUNCTION = '''
def check_{number}(request, limits, *, strict=False):
    """Refuse a request that is over its limits."""
    for name, value in request.headers.items():
        if strict and len(value) > limits.get(name, {number}):
            raise ValueError(f"{{name}} has {{len(value)}} bytes")
    return [item * 2 + {number} for item in request.sizes if item not in (1, 2, 3)]

'''


def _native(name: str, version: str, size: int) -> bytes:
    """Return an ELF shared object of one segment with a manifest in the middle."""
    blob = encode_native_blob({"name": name, "version": version, "author": "Benchmarks"})
    header = _ELF_HEADER.pack(_ELF_IDENT, 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    program = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 4096)
    code = hashlib.shake_128(name.encode()).digest(size)
    middle = size // 2
    head = header + program
    return head + code[len(head) : middle] + blob + code[middle + len(blob) :]


def _python_data(name: str, version: str, size: int) -> bytes:
    """Return a module that is mostly one text, as data in a plugin is."""
    source = _PYTHON.format(name=name, version=version)
    return f"{source}DATA = '{'x' * (size - len(source) - 10)}'\n".encode()


def _python_code(name: str, version: str, size: int) -> bytes:
    """Return a module of functions."""
    source = _PYTHON.format(name=name, version=version)
    number = 0
    while len(source) < size:
        source += _FUNCTION.format(number=number)
        number += 1
    return source[: source.rindex("\ndef ")].encode()


KINDS: dict[str, tuple[str, Callable[[str, str, int], bytes]]] = {
    "native": (".so", _native),
    "Python, mostly data": (".py", _python_data),
    "Python, all code": (".py", _python_code),
}


class _Hashed(NamedTuple):
    path: Path
    sha3_512: str


@dataclass(frozen=True)
class SignedDirectory:
    """Hold what a host and a bare loop need to verify a directory.

    Attributes:
        path: The directory.
        security: Trusts every plugin in it.
        signatures: By path, what libsodium's `crypto_sign_open` takes: signature and message, and
            the key.
    """

    path: Path
    security: PluginSecurity
    signatures: dict[Path, tuple[bytes, bytes]]


def write_directory(
    root: Path, kind: str, *, count: int, size: int, signers: int
) -> SignedDirectory:
    """Write `count` plugins of about `size` bytes, signed by `signers` keys in turn."""
    suffix, make = KINDS[kind]
    keys = [SigningKeyPair.generate() for _ in range(signers)]
    entries = []
    signatures = {}
    for number in range(count):
        key = keys[number % signers]
        name = f"bench-{number}"
        version = f"{number % 7}.{number % 50}.{number % 3}"
        data = make(name, version, size)
        path = root / f"{name}{suffix}"
        path.write_bytes(data)
        digest = hashlib.sha3_512(data).hexdigest()
        manifest = PluginManifest(
            name=name,
            version=PluginVersion.parse(version),
            author="Benchmarks",
            kind=PluginKind.NATIVE if suffix == ".so" else PluginKind.PYTHON,
        )
        envelope = sign_plugin(_Hashed(path, digest), manifest, key)
        path.with_name(f"{path.name}.sig").write_bytes(envelope)
        decoded = PluginSignature.decode(envelope)
        signatures[path] = (
            decoded.signatures[0].signature + decoded.signed_bytes,
            key.public_key.as_bytes(),
        )
        entries.append(
            TrustedPluginEntry(
                hash=digest, name=name, version=version, key_id=key.public_key.key_id
            )
        )
    security = PluginSecurity(
        SecurityPolicy(trust_list_path=None),
        hardcoded_trusted_plugins=entries,
        hardcoded_public_keys=[key.public_key for key in keys],
    )
    return SignedDirectory(root, security, signatures)
