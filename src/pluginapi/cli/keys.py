"""`pluginapi keygen` and `pluginapi keys`: key pairs; and how other commands open a key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from pluginapi.cli._output import Output, json_option
from pluginapi.cli._secrets import ambiguous_secret, passphrase_options, read_secret
from pluginapi.errors import KeyFileError, NotFound
from pluginapi.security import PublicKey, SigningKeyPair
from pluginapi.security.files import make_private_directory

__all__ = [
    "KEY_PASSPHRASE_VARIABLE",
    "keygen_command",
    "keys_command",
    "open_public_key",
    "open_signing_key",
]

KEY_PASSPHRASE_VARIABLE: Final = "PLUGINAPI_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable
_HEX_KEY: Final = re.compile(r"[0-9A-Fa-f]{64}")


@click.command(
    "keygen",
    epilog="Example: pluginapi keygen keys/release && cat keys/release.pub",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--unencrypted",
    is_flag=True,
    help="Write the private key without a passphrase; the file is then all that protects it.",
)
@passphrase_options("passphrase", "passphrase of the new key")
@json_option
def keygen_command(
    path: Path,
    unencrypted: bool,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Make an Ed25519 key pair: PATH.key (private, encrypted, mode 0600) and PATH.pub.

    Both are PEM files that OpenSSL reads. Existing files are never overwritten. The passphrase
    comes from a prompt, PLUGINAPI_KEY_PASSPHRASE, a file or a descriptor.
    """
    output = Output(as_json=as_json)
    private, public = path.with_name(path.name + ".key"), path.with_name(path.name + ".pub")
    for file in (private, public):
        # Before anybody types a passphrase for nothing.
        if file.exists():
            raise KeyFileError(
                f"{file} exists, and a key is never written over another file",
                code="key.exists",
                hint="choose another name, or move the old file away first",
                path=str(file),
            )
    passphrase = None
    if unencrypted:
        if passphrase_file is not None or passphrase_fd is not None:
            raise ambiguous_secret("new key", "--unencrypted and a passphrase")
    else:
        passphrase = read_secret(
            "passphrase of the new key",
            environment=KEY_PASSPHRASE_VARIABLE,
            file=passphrase_file,
            descriptor=passphrase_fd,
            confirm=True,
        )
    pair = SigningKeyPair.generate()
    make_private_directory(path.parent)
    pair.save(private, passphrase, unencrypted=unencrypted)
    try:
        pair.public_key.save(public)
    except BaseException:
        # A private key whose public half nobody has is of no use, and in the way of the next try.
        private.unlink()
        raise
    output.result(
        {
            "private_key": str(private),
            "public_key": str(public),
            "key_id": pair.public_key.key_id,
            "public_key_hex": pair.public_key.to_hex(),
            "encrypted": not unencrypted,
        }
    )
    output.text(f"private key  {private}  (keep it secret)")
    output.text(f"public key   {public}  (give it to operators)")
    output.text(f"key id       {pair.public_key.key_id}")
    output.text(f"hexadecimal  {pair.public_key.to_hex()}")


@click.command("keys", epilog="Example: pluginapi keys keys/ --json")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("keys"))
@json_option
def keys_command(directory: Path, as_json: bool) -> None:
    """List the public keys (.pub) in DIRECTORY, `keys` unless given, with their ids.

    Says as well whether the private key lies beside each; no private key is opened.
    """
    output = Output(as_json=as_json)
    if not directory.is_dir():
        raise NotFound(
            f"there is no directory {directory}",
            code="key.not_found",
            hint="make a first pair in it with `pluginapi keygen`",
            path=str(directory),
        )
    rows = []
    for path in sorted(directory.glob("*.pub")):
        key = PublicKey.load(path)
        rows.append(
            {
                "label": path.stem,
                "key_id": key.key_id,
                "public_key_hex": key.to_hex(),
                "has_private_key": path.with_suffix(".key").exists(),
            }
        )
    output.result({"keys": rows})
    output.table(
        ["LABEL", "KEY ID", "PRIVATE", "HEXADECIMAL"],
        [
            [
                str(row["label"]),
                str(row["key_id"]),
                "yes" if row["has_private_key"] else "no",
                str(row["public_key_hex"]),
            ]
            for row in rows
        ],
    )


def open_signing_key(
    path: Path, passphrase_file: Path | None, passphrase_fd: int | None
) -> SigningKeyPair:
    """Read a private key; asks for its passphrase only when it has one."""
    try:
        return SigningKeyPair.load(path)
    except KeyFileError as err:
        if err.code != "key.passphrase_needed":
            raise
    passphrase = read_secret(
        f"passphrase of {path}",
        environment=KEY_PASSPHRASE_VARIABLE,
        file=passphrase_file,
        descriptor=passphrase_fd,
    )
    return SigningKeyPair.load(path, passphrase)


def open_public_key(text: str, label: str | None = None) -> PublicKey:
    """Read a public key from a PEM file, or from 64 hexadecimal digits.

    The label, unless given, is the name of the file without its suffix.
    """
    path = Path(text)
    if _HEX_KEY.fullmatch(text) and not path.exists():
        return PublicKey.from_hex(text, label or "")
    return PublicKey.load(path, label=path.stem if label is None else label)
