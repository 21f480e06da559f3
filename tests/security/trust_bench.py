"""One operator's machine for the tests of signatures and trust."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pluginapi.manifest import PluginManifest
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.security import (
    PluginSecurity,
    SecurityPolicy,
    SigningKeyPair,
    TrustKey,
    TrustList,
    sign_plugin,
)

SOURCE = """
from pluginapi.plugin import make_plugin

@make_plugin(name="acme.filter", version="1.2.3", author="Acme")
class Filter:
    pass
"""


@dataclass
class Bench:
    """One operator's machine: a plugin on disk, a list, a state directory and two keys."""

    directory: Path
    plugin: Path
    list_path: Path
    state_dir: Path
    trust_key: TrustKey
    signer: SigningKeyPair
    stranger: SigningKeyPair

    def write_plugin(self, source: str = SOURCE) -> None:
        self.plugin.write_text(source)

    def read(self) -> tuple[PluginFile, PluginManifest]:
        file = PluginFile.open(self.plugin)
        return file, read_manifest(file)

    @property
    def envelope_path(self) -> Path:
        return self.plugin.with_name(self.plugin.name + ".sig")

    def sign(self, key: SigningKeyPair | None = None) -> bytes:
        file, manifest = self.read()
        envelope = sign_plugin(file, manifest, key or self.signer)
        self.envelope_path.write_bytes(envelope)
        return envelope

    def create_list(self) -> TrustList:
        return TrustList.create(self.list_path, self.trust_key, state_dir=self.state_dir)

    def load_list(self) -> TrustList:
        return TrustList.load(self.list_path, self.trust_key, state_dir=self.state_dir)

    def security(self, *, only_trusted: bool = True, **more: object) -> PluginSecurity:
        policy = SecurityPolicy(
            only_trusted=only_trusted, trust_list_path=self.list_path, max_plugin_bytes=1_000_000
        )
        return PluginSecurity(
            policy,
            trust_key=self.trust_key,
            state_dir=self.state_dir,
            **more,  # type: ignore[arg-type]
        )

    def trusted(self) -> PluginSecurity:
        """Sign the plugin, accept its key and list it."""
        self.create_list()
        self.sign()
        security = self.security()
        security.add_public_key(self.signer.public_key)
        security.trust_plugin(*self.read())
        return security
