from __future__ import annotations

import base64
import copy
import os
import pickle
import stat
import subprocess
from pathlib import Path

import pytest
from Crypto.PublicKey import ECC, RSA
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.errors import IoError, KeyFileError, SecurityError
from pluginapi.security.keys import MAX_KEY_FILE_BYTES, PublicKey, SigningKeyPair

PASSPHRASE = "correct horse battery staple"


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


@pytest.fixture(scope="module")
def pair() -> SigningKeyPair:
    return SigningKeyPair.generate()


@pytest.fixture(scope="module")
def encrypted_pem(pair: SigningKeyPair) -> str:
    return pair.to_pem(PASSPHRASE)


def code_of(caught: pytest.ExceptionInfo[KeyFileError]) -> str:
    assert caught.value.hint
    return caught.value.code


# -- Public keys


def test_a_public_key_in_every_form(pair: SigningKeyPair) -> None:
    key = pair.public_key
    assert PublicKey.from_bytes(key.as_bytes()) == key
    assert PublicKey.from_hex(key.to_hex().upper()) == key
    assert PublicKey.from_pem(key.to_pem()) == key
    assert PublicKey.from_pem(key.to_pem().replace("\n", "\r\n").encode()) == key
    assert eval(repr(key), {"PublicKey": PublicKey}) == key  # noqa: S307 - our own repr


def test_the_label_is_a_name_and_not_part_of_the_key(pair: SigningKeyPair) -> None:
    labelled = pair.public_key.with_label("Acme release key")
    assert labelled.label == "Acme release key"
    assert labelled == pair.public_key
    assert len({labelled, pair.public_key}) == 1
    assert labelled.key_id == pair.public_key.key_id
    with pytest.raises(KeyFileError, match="label"):
        pair.public_key.with_label("two\nlines")


def test_the_key_id_is_of_the_subject_public_key_info() -> None:
    # RFC 8410, section 10.1, is the source of the key.
    pem = (
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        "-----END PUBLIC KEY-----\n"
    )
    key = PublicKey.from_pem(pem)
    assert key.to_pem() == pem
    digest = subprocess.run(
        ["openssl", "dgst", "-sha3-256", "-r"],
        input=key.to_der(),
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout.decode()
    assert key.key_id == digest[:32]


def test_the_private_key_of_rfc_8410() -> None:
    """RFC 8410, section 10.3: the same pair as a version 1 and a version 2 structure."""
    version_1 = (
        "-----BEGIN PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
        "-----END PRIVATE KEY-----\n"
    )
    pair = SigningKeyPair.from_pem(version_1)
    assert pair.to_pem(unencrypted=True) == version_1
    assert pair.public_key.to_hex().startswith("19bf44096984cdfe8541bac167dc3b96")


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, " " + "00" * 32])
def test_hexadecimal_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        PublicKey.from_hex(text)
    assert code_of(caught) == "key.invalid"


def test_weak_and_short_keys_are_refused() -> None:
    with pytest.raises(KeyFileError) as caught:
        PublicKey.from_bytes(bytes(32))
    assert code_of(caught) == "key.weak"
    with pytest.raises(KeyFileError) as caught:
        PublicKey.from_bytes(bytes(31))
    assert code_of(caught) == "key.invalid"
    with pytest.raises(KeyFileError) as caught:
        SigningKeyPair(bytes(31))
    assert code_of(caught) == "key.invalid"


def test_public_keys_of_another_kind_are_refused(pair: SigningKeyPair) -> None:
    p256 = ECC.generate(curve="P-256").public_key().export_key(format="PEM")
    with pytest.raises(KeyFileError) as caught:
        PublicKey.from_pem(str(p256))
    assert code_of(caught) == "key.unsupported"
    with pytest.raises(KeyFileError, match="PRIVATE KEY, not a PUBLIC KEY"):
        PublicKey.from_pem(pair.to_pem(unencrypted=True))


# -- Private keys


def test_a_private_key_is_written_encrypted_unless_plain_text_is_asked_for(
    pair: SigningKeyPair, encrypted_pem: str
) -> None:
    assert encrypted_pem.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert SigningKeyPair.from_pem(encrypted_pem, PASSPHRASE).sign(b"x") == pair.sign(b"x")
    plain = pair.to_pem(unencrypted=True)
    assert plain.startswith("-----BEGIN PRIVATE KEY-----")
    assert SigningKeyPair.from_pem(plain).public_key == pair.public_key
    with pytest.raises(KeyFileError) as caught:
        pair.to_pem()
    assert code_of(caught) == "key.passphrase_needed"
    with pytest.raises(KeyFileError) as caught:
        pair.to_pem("")
    assert code_of(caught) == "key.passphrase_needed"
    with pytest.raises(KeyFileError) as caught:
        pair.to_pem(PASSPHRASE, unencrypted=True)
    assert code_of(caught) == "key.invalid"


def test_a_wrong_and_a_missing_passphrase_are_told_apart(encrypted_pem: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        SigningKeyPair.from_pem(encrypted_pem)
    assert code_of(caught) == "key.passphrase_needed"
    with pytest.raises(KeyFileError) as caught:
        SigningKeyPair.from_pem(encrypted_pem, PASSPHRASE + "!")
    assert code_of(caught) == "key.passphrase"


def test_a_composed_passphrase_opens_what_a_decomposed_one_closed(pair: SigningKeyPair) -> None:
    pem = pair.to_pem("cle\u0301")
    assert SigningKeyPair.from_pem(pem, "cl\u00e9").public_key == pair.public_key


def test_the_secret_shows_nowhere_and_is_not_copied(pair: SigningKeyPair) -> None:
    assert repr(pair) == f"<SigningKeyPair {pair.public_key.key_id}>"
    assert pair._secret.hex()[:64] not in repr(pair) + str(pair)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecurityError) as caught:
            attempt(pair)
        assert caught.value.code == "key.secret"
    with pytest.raises(SecurityError):
        pair.__reduce__()


# -- Files


def test_key_files_have_their_modes_whatever_the_umask(
    tmp_path: Path, pair: SigningKeyPair
) -> None:
    before = os.umask(0)
    try:
        pair.save(tmp_path / "key.pem", unencrypted=True)
        os.umask(0o077)
        pair.public_key.save(tmp_path / "key.pub")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "key.pub").stat().st_mode) == 0o644
    assert SigningKeyPair.load(tmp_path / "key.pem").public_key == pair.public_key
    assert PublicKey.load(tmp_path / "key.pub", label="mine") == pair.public_key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.pem", "key.pub"]


def test_no_file_is_ever_written_over(tmp_path: Path, pair: SigningKeyPair) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling"):
        with pytest.raises(KeyFileError) as caught:
            pair.save(tmp_path / name, unencrypted=True)
        assert code_of(caught) == "key.exists"
    assert (tmp_path / "file").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


def test_a_file_that_appears_meanwhile_is_not_written_over(
    tmp_path: Path, pair: SigningKeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "key.pem"
    real_link = os.link

    def late(source: Path, destination: Path) -> None:
        target.write_text("precious")
        real_link(source, destination)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(KeyFileError) as caught:
        pair.save(target, unencrypted=True)
    assert code_of(caught) == "key.exists"
    assert target.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, pair: SigningKeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_source: Path, _destination: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    pair.save(tmp_path / "key.pem", unencrypted=True)
    assert SigningKeyPair.load(tmp_path / "key.pem").public_key == pair.public_key
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


def test_a_directory_that_is_not_there_is_a_clean_error(
    tmp_path: Path, pair: SigningKeyPair
) -> None:
    with pytest.raises(KeyFileError) as caught:
        pair.save(tmp_path / "none" / "key.pem", unencrypted=True)
    assert code_of(caught) == "key.not_saved"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o622])
def test_a_private_key_that_others_can_touch_is_refused(
    tmp_path: Path, pair: SigningKeyPair, mode: int
) -> None:
    path = tmp_path / "key.pem"
    pair.save(path, unencrypted=True)
    path.chmod(mode)
    with pytest.raises(KeyFileError) as caught:
        SigningKeyPair.load(path)
    assert code_of(caught) == "key.permissions"
    assert caught.value.hint == f"chmod 600 {path}"
    path.chmod(0o400)
    assert SigningKeyPair.load(path).public_key == pair.public_key


def test_files_that_are_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(KeyFileError) as caught:
        SigningKeyPair.load(path)
    assert code_of(caught) == "key.not_found"
    path.write_bytes(b"-" * (MAX_KEY_FILE_BYTES + 1))
    path.chmod(0o600)
    with pytest.raises(KeyFileError) as caught:
        SigningKeyPair.load(path)
    assert code_of(caught) == "key.too_large"
    with pytest.raises(KeyFileError) as caught:
        PublicKey.from_pem("-" * (MAX_KEY_FILE_BYTES + 1))
    assert code_of(caught) == "key.too_large"
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFileError, match="not a regular file") as caught:
        SigningKeyPair.load(tmp_path / "pipe")
    assert code_of(caught) == "key.invalid"
    with pytest.raises(IoError):
        SigningKeyPair.load(path / "below")


@pytest.mark.skipif(
    not Path("/proc/kallsyms").exists(), reason="needs a Linux file whose size reads as 0"
)
def test_a_file_that_grows_while_it_is_read_is_refused() -> None:
    # /proc files report size 0 and still have content: the bound is on what is read.
    with pytest.raises(KeyFileError) as caught:
        PublicKey.load("/proc/kallsyms")
    assert code_of(caught) == "key.too_large"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "-----BEGIN PUBLIC KEY-----\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nMCowBQ=YDK2VwAy\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----\n",
    ],
)
def test_malformed_pem(text: str) -> None:
    for read in (PublicKey.from_pem, SigningKeyPair.from_pem):
        with pytest.raises(KeyFileError) as caught:
            read(text)
        assert code_of(caught) == "key.invalid"


def test_private_keys_of_another_kind_are_refused() -> None:
    p256 = ECC.generate(curve="P-256").export_key(format="PEM")
    ed448 = ECC.generate(curve="Ed448").export_key(format="PEM")
    for pem in (p256, ed448):
        with pytest.raises(KeyFileError) as caught:
            SigningKeyPair.from_pem(str(pem))
        assert code_of(caught) == "key.unsupported"
    legacy = RSA.generate(2048).export_key(format="PEM", pkcs=1)
    with pytest.raises(KeyFileError) as caught:
        SigningKeyPair.from_pem(legacy)
    assert code_of(caught) == "key.unsupported"


def test_private_keys_encrypted_in_another_way_are_refused(pair: SigningKeyPair) -> None:
    seed = pair._secret[:32]
    key = ECC.construct(curve="Ed25519", seed=seed)
    scrypt = key.export_key(
        format="PEM",
        passphrase="x",
        protection="scryptAndAES256-CBC",
        prot_params={"iteration_count": 1024},
    )
    costly = key.export_key(
        format="DER",
        passphrase="x",
        protection="PBKDF2WithHMAC-SHA512AndAES256-CBC",
        prot_params={"iteration_count": 4097},
    )
    assert isinstance(costly, bytes)
    assert costly.count((4097).to_bytes(2, "big")) == 1
    # DER lengths allow a larger number in the same place only with more bytes, so the size of
    # the two sequences around it is not changed: 0x1001 becomes negative instead.
    negative = costly.replace((4097).to_bytes(2, "big"), b"\xff\x01")
    with pytest.raises(KeyFileError, match=r"1\.3\.6\.1\.4\.1\.11591\.4\.11") as caught:
        SigningKeyPair.from_pem(str(scrypt), "x")
    assert code_of(caught) == "key.unsupported"
    with pytest.raises(KeyFileError, match="iteration count") as caught:
        SigningKeyPair.from_pem(_pem("ENCRYPTED PRIVATE KEY", negative), "x")
    assert code_of(caught) == "key.unsupported"
    assert SigningKeyPair.from_pem(_pem("ENCRYPTED PRIVATE KEY", costly), "x") is not None


def test_a_key_file_cannot_ask_for_hours_of_work(pair: SigningKeyPair, tmp_path: Path) -> None:
    (tmp_path / "plain.pem").write_text(pair.to_pem(unencrypted=True))
    openssl(
        "pkcs8", "-topk8", "-in", tmp_path / "plain.pem", "-out", tmp_path / "k.pem",
        "-v2", "aes-256-cbc", "-iter", "10000001", "-passout", "pass:x",
    )  # fmt: skip
    with pytest.raises(KeyFileError, match="iteration count") as caught:
        SigningKeyPair.from_pem((tmp_path / "k.pem").read_text(), "x")
    assert code_of(caught) == "key.unsupported"


def _pem(kind: str, der: bytes) -> str:
    return f"-----BEGIN {kind}-----\n{base64.b64encode(der).decode()}\n-----END {kind}-----\n"


@given(st.binary(max_size=200))
def test_arbitrary_structures_give_clean_errors(der: bytes) -> None:
    for kind in ("PUBLIC KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"):
        for read in (PublicKey.from_pem, SigningKeyPair.from_pem):
            with pytest.raises(KeyFileError):
                read(_pem(kind, der))


@given(st.binary(max_size=300))
def test_arbitrary_files_give_clean_errors(data: bytes) -> None:
    for read in (PublicKey.from_pem, SigningKeyPair.from_pem):
        with pytest.raises(KeyFileError):
            read(data)


@given(st.integers(16, 47), st.integers(0, 7))
def test_a_flipped_bit_in_a_plain_key_is_another_key(byte: int, bit: int) -> None:
    pair = SigningKeyPair(bytes(range(32)))
    der = bytearray(base64.b64decode("".join(pair.to_pem(unencrypted=True).split("\n")[1:-2])))
    der[byte] ^= 1 << bit
    other = SigningKeyPair.from_pem(_pem("PRIVATE KEY", bytes(der)))
    assert other.public_key != pair.public_key


# -- Other programs


def test_openssl_reads_our_keys(tmp_path: Path, pair: SigningKeyPair, encrypted_pem: str) -> None:
    (tmp_path / "plain.pem").write_text(pair.to_pem(unencrypted=True))
    (tmp_path / "locked.pem").write_text(encrypted_pem)
    pair.public_key.save(tmp_path / "key.pub")
    public = pair.public_key.to_pem()
    assert openssl("pkey", "-in", tmp_path / "plain.pem", "-pubout") == public
    assert (
        openssl("pkey", "-in", tmp_path / "locked.pem", "-passin", f"pass:{PASSPHRASE}", "-pubout")
        == public
    )
    assert openssl("pkey", "-pubin", "-in", tmp_path / "key.pub", "-pubout") == public
    with pytest.raises(subprocess.CalledProcessError):
        openssl("pkey", "-in", tmp_path / "locked.pem", "-passin", "pass:wrong", "-pubout")


def test_we_read_the_keys_of_openssl(tmp_path: Path) -> None:
    plain, locked, public = (tmp_path / name for name in ("plain.pem", "locked.pem", "key.pub"))
    openssl("genpkey", "-algorithm", "ed25519", "-out", plain)
    openssl("pkey", "-in", plain, "-pubout", "-out", public)
    openssl("pkey", "-in", plain, "-aes-256-cbc", "-passout", "pass:secret", "-out", locked)
    for path in (plain, locked):
        path.chmod(0o600)
    assert SigningKeyPair.load(plain).public_key == PublicKey.load(public)
    assert SigningKeyPair.load(locked, "secret").public_key == PublicKey.load(public)
    with pytest.raises(KeyFileError) as caught:
        SigningKeyPair.load(locked, "wrong")
    assert code_of(caught) == "key.passphrase"


def test_openssl_verifies_our_signatures_and_we_verify_its(
    tmp_path: Path, pair: SigningKeyPair
) -> None:
    data, ours, theirs = (tmp_path / name for name in ("plugin.so", "ours.raw", "theirs.raw"))
    data.write_bytes(os.urandom(5000))
    pair.save(tmp_path / "key.pem", unencrypted=True)
    pair.public_key.save(tmp_path / "key.pub")
    ours.write_bytes(pair.sign(data.read_bytes()))
    check = ("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", tmp_path / "key.pub", "-in", data)
    assert "Verified Successfully" in openssl(*check, "-sigfile", ours)
    openssl(
        "pkeyutl", "-sign", "-rawin", "-inkey", tmp_path / "key.pem", "-in", data, "-out", theirs
    )
    assert theirs.read_bytes() == ours.read_bytes()
    data.write_bytes(data.read_bytes() + b"\0")
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*check, "-sigfile", ours)


def test_cryptography_reads_our_keys(pair: SigningKeyPair, encrypted_pem: str) -> None:
    private = serialization.load_pem_private_key(encrypted_pem.encode(), PASSPHRASE.encode())
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    assert private.sign(b"message") == pair.sign(b"message")
    public = serialization.load_pem_public_key(pair.public_key.to_pem().encode())
    assert isinstance(public, ed25519.Ed25519PublicKey)
    public.verify(pair.sign(b"message"), b"message")
