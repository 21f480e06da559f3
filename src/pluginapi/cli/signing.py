"""`pluginapi sign` and `pluginapi verify`: the signature beside a plugin file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pluginapi.cli._output import Output, json_option
from pluginapi.cli._secrets import passphrase_options
from pluginapi.cli.keys import open_public_key, open_signing_key
from pluginapi.errors import InvalidSignature
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.security import PluginSignature, countersign, sign_plugin
from pluginapi.security.files import replace_file

if TYPE_CHECKING:
    from pluginapi.manifest import PluginManifest

__all__ = ["sign_command", "verify_command"]


@click.command("sign", epilog="Example: pluginapi sign plugins/filter.so --key keys/release.key")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Private key (PKCS#8 PEM), from `pluginapi keygen` or OpenSSL.",
)
@click.option("--signer", metavar="TEXT", help="Who signs, as text inside the signed statement.")
@click.option("--notes", metavar="TEXT", help="Notes inside the signed statement.")
@click.option(
    "--add", is_flag=True, help="Add a signature to the existing FILE.sig (counter-sign)."
)
@passphrase_options("passphrase", "passphrase of the key")
@json_option
def sign_command(
    file: Path,
    key_file: Path,
    signer: str | None,
    notes: str | None,
    add: bool,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Sign the plugin FILE; writes FILE.sig, a DSSE envelope, beside it.

    The signature covers the SHA3-512 of the file, the name and version in its manifest, and the
    time. The passphrase comes from a prompt, PLUGINAPI_KEY_PASSPHRASE, a file or a descriptor.
    """
    output = Output(as_json=as_json)
    with output.working("reading the plugin"):
        opened = PluginFile.open(file)
        manifest = read_manifest(opened)
    key = open_signing_key(key_file, passphrase_file, passphrase_fd)
    if add:
        existing = _decode(opened)
        _check_statement(existing, opened, manifest)
        envelope = countersign(existing.encode(), key)
    else:
        envelope = sign_plugin(opened, manifest, key, signer=signer, notes=notes)
    target = file.with_name(file.name + ".sig")
    replace_file(target, envelope, 0o644)
    output.result(
        {
            "path": str(file),
            "signature": str(target),
            "name": manifest.name,
            "version": str(manifest.version),
            "sha3_512": opened.sha3_512,
            "key_id": key.public_key.key_id,
        }
    )
    output.text(f"signed {manifest.name} {manifest.version} with key {key.public_key.key_id}")
    output.text(f"wrote  {target}")


@click.command(
    "verify", epilog="Example: pluginapi verify plugins/filter.so --key keys/release.pub"
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--key",
    "keys",
    required=True,
    multiple=True,
    metavar="FILE|HEX",
    help="Public key that must have signed: a PEM file or 64 hex digits; repeatable: all must.",
)
@json_option
def verify_command(file: Path, keys: tuple[str, ...], as_json: bool) -> None:
    """Check that the plugin FILE is signed by the given keys; exit code 0 only if it is.

    Needs no trust list: it answers who signed, not whether it may load (`pluginapi explain`).
    """
    output = Output(as_json=as_json)
    public_keys = [open_public_key(key) for key in keys]
    with output.working("reading the plugin"):
        opened = PluginFile.open(file)
        manifest = read_manifest(opened)
    signature = _decode(opened)
    _check_statement(signature, opened, manifest)
    statement = signature.statement
    signature.verify_with(*public_keys)
    facts: dict[str, Any] = {
        "path": str(file),
        "valid": True,
        "name": statement.name,
        "version": statement.version,
        "sha3_512": opened.sha3_512,
        "signed_at": statement.signed_at,
        "key_ids": [key.key_id for key in public_keys],
    }
    output.result(facts)
    output.text(f"valid: {statement.name} {statement.version}, signed at {statement.signed_at}")
    for key in public_keys:
        output.text(f"  by key {key.key_id}")


def _decode(file: PluginFile) -> PluginSignature:
    if file.envelope is None:
        raise InvalidSignature(
            f"{file.path} has no signature: there is no {file.path.name}.sig beside it",
            code="signature.missing",
            hint=f"sign it: pluginapi sign {file.path} --key KEY",
        )
    return PluginSignature.decode(file.envelope)


def _check_statement(
    signature: PluginSignature, file: PluginFile, manifest: PluginManifest
) -> None:
    statement = signature.statement
    if statement.sha3_512 != file.sha3_512:
        raise InvalidSignature(
            f"{file.path} is not the file that was signed: its SHA3-512 begins with "
            f"{file.sha3_512[:16]}, the signed one with {statement.sha3_512[:16]}",
            code="signature.mismatch",
            plugin=manifest.name,
            hint=f"get the original file, or sign this one: pluginapi sign {file.path} --key KEY",
        )
    if (statement.name, statement.version) != (manifest.name, str(manifest.version)):
        raise InvalidSignature(
            f"the signature is for {statement.name} {statement.version}, the file says "
            f"{manifest.name} {manifest.version}",
            code="signature.mismatch",
            plugin=manifest.name,
            hint=f"sign the file again: pluginapi sign {file.path} --key KEY",
        )
