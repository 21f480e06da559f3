"""`pluginapi trust`: keep the encrypted trust list."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from pluginapi.cli._output import Output, json_option
from pluginapi.cli._secrets import ambiguous_secret
from pluginapi.cli._security import TrustListOptions, trust_list_options
from pluginapi.cli.keys import open_public_key
from pluginapi.errors import TrustListError
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.security import PluginSecurity, SecurityPolicy, TrustKey, TrustList, hash_file
from pluginapi.security.files import create_file

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["trust_command"]

_KEY_ID: Final = re.compile(r"[0-9A-Fa-f]{32}")
_KEY_OPTION = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="FILE|HEX|ID",
    help="A public key: a PEM file, its 64 hex digits, or its id; repeatable.",
)
_HASH_OPTION = click.option(
    "--hash",
    "hashes",
    multiple=True,
    metavar="HASH",
    help="A plugin by its SHA3-512, 128 hexadecimal digits; repeatable.",
)


@click.group(
    "trust",
    epilog="Example: pluginapi trust init && pluginapi trust add --key release.pub plugins/a.so",
)
def trust_command() -> None:
    """Keep the encrypted trust list: which keys and which plugin files are trusted.

    The list is opened with a passphrase (prompt, PLUGINAPI_TRUST_PASSPHRASE, a file or a
    descriptor) or with 32 raw bytes in a file. The changes of one command are saved all together
    or not at all.
    """


@trust_command.command("init", epilog="Example: pluginapi trust init --trust-list trust.enc")
@click.option(
    "--new-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Make a random key of 32 bytes, write it to FILE (mode 0600), and use it.",
)
@trust_list_options
@json_option
def init(trust_list: TrustListOptions, new_key_file: Path | None, as_json: bool) -> None:
    """Create a new, empty trust list; an existing file is never overwritten."""
    output = Output(as_json=as_json)
    path = trust_list.list_path()
    if new_key_file is None:
        key = trust_list.key(confirm=True)
    elif trust_list.says_key:
        raise ambiguous_secret("trust list", "--new-key-file and another")
    else:
        key = _write_new_key(new_key_file)
    try:
        with output.working("creating the trust list"):
            created = TrustList.create(path, key, state_dir=trust_list.state_dir)
    except BaseException:
        if new_key_file is not None:
            # It opens nothing, and would be in the way of the next try.
            new_key_file.unlink()
        raise
    output.result({"path": str(path), "list_id": created.list_id, "counter": created.counter})
    output.text(f"created {path}")


def _write_new_key(path: Path) -> TrustKey:
    key = TrustKey.generate()
    try:
        create_file(path, bytes.fromhex(key.to_hex()), 0o600)
    except FileExistsError as err:
        raise TrustListError(
            f"{path} exists, and a key is never written over another file",
            code="key.exists",
            hint="use it with --trust-key-file, or choose another name",
            path=str(path),
        ) from err
    return key


@trust_command.command(
    "add", epilog="Example: pluginapi trust add --key release.pub plugins/filter.so"
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="FILE|HEX",
    help="Accept signatures of this public key: a PEM file or 64 hex digits; repeatable.",
)
@click.option("--note", default="", metavar="TEXT", help="A note kept with each entry.")
@trust_list_options
@json_option
def add(
    files: tuple[Path, ...],
    keys: tuple[str, ...],
    note: str,
    trust_list: TrustListOptions,
    as_json: bool,
) -> None:
    """Add public keys, and plugin FILEs that a listed key signed.

    A file is added only if its signature verifies under a key that is listed (or added by the
    same command) and not revoked.
    """
    _need("a FILE or --key", files, keys)
    output = Output(as_json=as_json)
    public_keys = [open_public_key(key) for key in keys]
    with output.working("reading the plugins"):
        opened = [PluginFile.open(file) for file in files]
        manifests = [read_manifest(file) for file in opened]
    security = _open(trust_list)
    with output.working("opening and saving the trust list"):
        entries = security.trust_plugins(
            zip(opened, manifests, strict=True), keys=public_keys, note=note
        )
    for key in public_keys:
        output.text(f"added key {key.key_id}" + (f" ({key.label})" if key.label else ""))
    for entry in entries:
        output.text(f"added plugin {entry.name} {entry.version}, signed by {entry.key_id}")
    output.result(
        {
            "keys": [key.key_id for key in public_keys],
            "plugins": [msgspec.to_builtins(entry) for entry in entries],
        }
    )


@trust_command.command("remove", epilog="Example: pluginapi trust remove plugins/filter.so")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@_HASH_OPTION
@_KEY_OPTION
@trust_list_options
@json_option
def remove(
    files: tuple[Path, ...],
    hashes: tuple[str, ...],
    keys: tuple[str, ...],
    trust_list: TrustListOptions,
    as_json: bool,
) -> None:
    """Take plugins and keys out of the list; they can be added again (see `revoke`)."""
    _change(
        "removed",
        files,
        hashes,
        keys,
        trust_list,
        as_json,
        TrustList.remove_plugin,
        TrustList.remove_key,
    )


@trust_command.command(
    "revoke", epilog="Example: pluginapi trust revoke --key release.pub --reason 'key was stolen'"
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@_HASH_OPTION
@_KEY_OPTION
@click.option("--reason", default="", metavar="TEXT", help="Why; shown wherever it refuses.")
@trust_list_options
@json_option
def revoke(
    files: tuple[Path, ...],
    hashes: tuple[str, ...],
    keys: tuple[str, ...],
    reason: str,
    trust_list: TrustListOptions,
    as_json: bool,
) -> None:
    """Refuse plugins and keys for ever; a revocation wins over everything."""
    _change(
        "revoked",
        files,
        hashes,
        keys,
        trust_list,
        as_json,
        lambda current, digest: current.revoke_hash(digest, reason),
        lambda current, key_id: current.revoke_key(key_id, reason),
    )


def _change(
    verb: str,
    files: tuple[Path, ...],
    hashes: tuple[str, ...],
    keys: tuple[str, ...],
    trust_list: TrustListOptions,
    as_json: bool,
    change_hash: Callable[[TrustList, str], object],
    change_key: Callable[[TrustList, str], object],
) -> None:
    _need("a FILE, --hash or --key", files, hashes, keys)
    output = Output(as_json=as_json)
    with output.working("hashing"):
        # Any file: what is revoked may be damaged, or no plugin at all.
        digests = [hash_file(file) for file in files] + [text.lower() for text in hashes]
    ids = [_key_id(key) for key in keys]

    def change(current: TrustList) -> None:
        for digest in digests:
            change_hash(current, digest)
        for key_id in ids:
            change_key(current, key_id)

    path, key = trust_list.list_path(), trust_list.key()
    with output.working("opening and saving the trust list"):
        TrustList.update(path, key, change, state_dir=trust_list.state_dir)
    for digest in digests:
        output.text(f"{verb} plugin {digest[:32]}…")
    for key_id in ids:
        output.text(f"{verb} key {key_id}")
    output.result({verb: {"hashes": digests, "keys": ids}})


def _key_id(text: str) -> str:
    if _KEY_ID.fullmatch(text) and not Path(text).exists():
        return text.lower()
    return open_public_key(text).key_id


@trust_command.command("list", epilog="Example: pluginapi trust list --json")
@trust_list_options
@json_option
def list_entries(trust_list: TrustListOptions, as_json: bool) -> None:
    """Show trusted plugins, accepted keys and revocations."""
    output = Output(as_json=as_json)
    opened = _load(trust_list, output)
    output.result(opened.to_dict())
    output.text(f"{opened.path}, change {opened.counter}", style="bold")
    output.table(
        ["PLUGIN", "VERSION", "KEY", "ADDED", "SHA3-512", "NOTE"],
        [
            [item.name, item.version, item.key_id, item.added_at, f"{item.hash[:16]}…", item.note]
            for item in opened.plugins.values()
        ],
    )
    output.text()
    output.table(
        ["KEY", "LABEL", "ADDED", "NOTE"],
        [[item.key_id, item.label, item.added_at, item.note] for item in opened.keys.values()],
    )
    revoked = [
        *(
            ["key", item.key_id, item.revoked_at, item.reason]
            for item in opened.revoked_keys.values()
        ),
        *(
            ["plugin", f"{item.hash[:32]}…", item.revoked_at, item.reason]
            for item in opened.revoked_hashes.values()
        ),
    ]
    if revoked:
        output.text()
        output.table(["REVOKED", "WHAT", "AT", "REASON"], revoked)


@trust_command.command("export", epilog="Example: pluginapi trust export > trust.json")
@trust_list_options
@json_option
def export(trust_list: TrustListOptions, as_json: bool) -> None:
    """Print the whole list as JSON, decrypted, for review or another tool.

    It holds no secret, but who may read it learns what is trusted.
    """
    opened = _load(trust_list, Output(as_json=as_json))
    Output(as_json=True).result(opened.to_dict())  # It is JSON either way.


@trust_command.command("restore", epilog="Example: pluginapi trust restore --trust-list trust.enc")
@trust_list_options
@json_option
def restore(trust_list: TrustListOptions, as_json: bool) -> None:
    """Accept the list that stands at the path although it is older or another than before.

    Use it after putting back a backup on purpose. Revocations made since that backup are lost:
    look through `pluginapi trust list` afterwards.
    """
    output = Output(as_json=as_json)
    path, key = trust_list.list_path(), trust_list.key()
    with output.working("opening and saving the trust list"):
        restored = TrustList.restore(path, key, state_dir=trust_list.state_dir)
    output.result({"path": str(restored.path), "counter": restored.counter})
    output.text(f"accepted {restored.path} as change {restored.counter}")


def _open(trust_list: TrustListOptions) -> PluginSecurity:
    return PluginSecurity(
        SecurityPolicy(trust_list_path=trust_list.list_path()),
        trust_key=trust_list.key(),
        state_dir=trust_list.state_dir,
    )


def _load(trust_list: TrustListOptions, output: Output) -> TrustList:
    path, key = trust_list.list_path(), trust_list.key()
    with output.working("opening the trust list"):
        return TrustList.load(path, key, state_dir=trust_list.state_dir)


def _need(what: str, *given: tuple[Any, ...]) -> None:
    if not any(given):
        raise click.UsageError(f"Nothing was named: give {what}.")
