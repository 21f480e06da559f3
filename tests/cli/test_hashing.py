from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .harness import Cli


def test_the_hash_of_files(cli: Cli) -> None:
    Path("a").write_bytes(b"abc")
    Path("b").write_bytes(b"x" * (3 * 1024 * 1024 + 1))
    expected = [hashlib.sha3_512(Path(name).read_bytes()).hexdigest() for name in ("a", "b")]
    # FIPS 202: SHA3-512 of "abc".
    assert expected[0].startswith("b751850b1a57168a5693cd924b6b096e")
    assert cli("hash", "a", "b").out == f"{expected[0]}  a\n{expected[1]}  b\n"
    assert cli("hash", "a", "--json").json() == {"files": [{"path": "a", "sha3_512": expected[0]}]}


def test_a_directory_stands_for_its_plugins(cli: Cli) -> None:
    path = cli.forge.plugin("one")
    (cli.forge.plugins / "notes.txt").write_text("no plugin")
    (cli.forge.plugins / "_private.py").write_text("no plugin")
    (cli.forge.plugins / "deeper").mkdir()
    done = cli("hash", cli.forge.plugins)
    assert done.out == f"{hashlib.sha3_512(path.read_bytes()).hexdigest()}  {path}\n"


def test_the_output_is_what_sha3sum_checks(cli: Cli) -> None:
    sha3sum = shutil.which("sha3sum") or shutil.which("openssl")
    if sha3sum is None or "openssl" not in sha3sum:
        pytest.skip("openssl is not installed")
    Path("a").write_bytes(b"abc")
    digest = cli("hash", "a").out.split()[0]
    done = subprocess.run(
        [sha3sum, "dgst", "-sha3-512", "a"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == digest


@pytest.mark.parametrize(
    ("name", "code"),
    [("absent", "io.failed"), ("pipe", "file.invalid"), ("empty", "file.none_found")],
)
def test_what_has_no_hash(cli: Cli, name: str, code: str) -> None:
    os.mkfifo("pipe")
    Path("empty").mkdir()
    done = cli("hash", name, "--json")
    assert (done.code, done.error()["code"]) == (1, code)
