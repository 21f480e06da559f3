"""The example Starlette application under uvicorn: a real process, a real socket, real plugins."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from native_build import EXAMPLES, compile_plugin
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.security import PluginSecurity, SecurityPolicy
from pluginapi.security.keys import SigningKeyPair
from pluginapi.security.signature import sign_plugin
from pluginapi.security.trust_entries import TrustedPluginEntry
from pluginapi.security.trust_key import TrustKey
from pluginapi.security.trust_list import TrustList

APP_DIR: Final = Path(__file__).parents[2] / "examples" / "hosts" / "starlette_app"
PASSPHRASE: Final = "correct horse battery staple"
PATIENCE: Final = 60
SECRET: Final = "detail 4711 of the plugin"

PLUGIN: Final = f"""
from pluginapi.http import HttpResponse
from pluginapi.plugin import make_plugin
import msgspec

@make_plugin(name="test.gate", version="1.0.0", author="tests", description="Gate for tests.")
class Gate:
    async def init(self, context):
        self.requests = 0

    def register_hooks(self, hooks):
        hooks.register("on_request", 200, self.on_request)
        hooks.register("on_response", 200, self.on_response)

    async def on_request(self, request):
        self.requests += 1
        if ".." in request.path:
            return HttpResponse(status=403, headers=(("x-blocked-by", "test.gate"),), body=b"no")
        if request.path == "/notes/fail":
            raise RuntimeError({SECRET!r})
        return None

    def on_response(self, response):
        seen = str(len(response.body))
        return msgspec.structs.replace(response, headers=(*response.headers, ("x-seen", seen)))

    def shutdown(self):
        print(f"gate saw {{self.requests}} requests", flush=True)
"""
UNSIGNED: Final = """
from pathlib import Path
from pluginapi.plugin import make_plugin
Path(__file__).with_suffix(".ran").touch()

@make_plugin(name="test.unsigned", version="1.0.0", author="tests")
class Unsigned:
    pass
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A host's directory: configuration, trust list, a signed and an unsigned plugin."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "gate.py").write_text(PLUGIN)
    (plugins / "unsigned.py").write_text(UNSIGNED)
    file = PluginFile.open(plugins / "gate.py")
    manifest = read_manifest(file)
    key = SigningKeyPair.generate()
    (plugins / "gate.py.sig").write_bytes(sign_plugin(file, manifest, key))
    trust_key = TrustKey.from_passphrase(PASSPHRASE, ops=1, memory_kib=8 * 1024)
    entry = TrustedPluginEntry(
        hash=file.sha3_512,
        name=manifest.name,
        version=str(manifest.version),
        key_id=key.public_key.key_id,
    )

    def trust(trust_list: TrustList) -> None:
        trust_list.add_key(key.public_key)
        trust_list.add_plugin(entry)

    path, state = tmp_path / "data" / "trust.enc", tmp_path / "state"
    TrustList.create(path, trust_key, state_dir=state)
    TrustList.update(path, trust_key, trust, state_dir=state)
    (tmp_path / "pluginapi.toml").write_text(
        "[plugins]\ndirectory = 'plugins'\n"
        "[security]\ntrust_list_path = 'data/trust.enc'\nstate_dir = 'state'\n"
        "trust_key_source = 'env:TEST_TRUST_PASSPHRASE'\n"
    )
    return tmp_path


class Server:
    """uvicorn with the example application in a process of its own."""

    def __init__(self, site: Path, passphrase: str) -> None:
        environment = {
            **os.environ,
            "NOTES_CONFIG": str(site / "pluginapi.toml"),
            "TEST_TRUST_PASSPHRASE": passphrase,
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(APP_DIR)]
        self.process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0", "--no-use-colors"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.log = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read the output up to a line that matches."""
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.log += line
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"the server ended without {pattern!r}:\n{self.log}")

    def wait_for_the_end(self) -> None:
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.log += line
        self.process.wait(PATIENCE)


@contextmanager
def serving(site: Path, passphrase: str = PASSPHRASE) -> Iterator[Server]:
    server = Server(site, passphrase)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait(PATIENCE)
        if server.process.stdout is not None:
            server.process.stdout.close()


def raw_exchange(port: int, request: bytes) -> bytes:
    """Send bytes as they are: clients of the ordinary kind remove dot segments."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_requests_pass_through_the_trusted_plugin(site: Path) -> None:
    with serving(site) as server:
        port = int(server.wait_for(r"running on http://127\.0\.0\.1:(\d+)")[1])
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE
        ) as client:
            assert client.get("/plugins").json() == ["test.gate"]
            health = client.get("/health").json()
            assert (health["status"], health["plugins_loaded"]) == ("ok", 1)
            assert health["plugins_total"] == 2

            made = client.post("/notes", json={"title": "milk", "text": "two bottles"})
            assert made.status_code == 201
            assert made.headers["x-seen"] == str(len(made.content))
            assert client.get(made.headers["location"]).json()["text"] == "two bottles"
            assert [note["title"] for note in client.get("/notes?q=MI").json()] == ["milk"]
            assert client.post("/notes", json={"name": "x"}).status_code == 400
            head = client.head("/notes")
            assert head.status_code == 200
            assert head.content == b""
            assert client.delete("/notes/1").status_code == 204
            assert client.get("/notes/1").status_code == 404

            failed = client.get("/notes/fail")
            assert failed.status_code == 500
            assert SECRET not in failed.text
            assert client.post("/notes", content=b"x" * (64 * 1024 + 1)).status_code == 413
            assert client.get("/notes").status_code == 200

        chunked = raw_exchange(
            port,
            b"POST /notes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
            b'9\r\n{"title":\r\n5\r\n "x"}\r\n0\r\n\r\n',
        )
        assert chunked.startswith(b"HTTP/1.1 201 ")
        blocked = raw_exchange(
            port, b"GET /static/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert blocked.startswith(b"HTTP/1.1 403 ")
        assert b"x-blocked-by: test.gate" in blocked

        server.process.send_signal(signal.SIGINT)
        server.wait_for("Application shutdown complete")
        server.wait_for_the_end()
    assert SECRET in server.log
    assert re.search(r"gate saw \d+ requests", server.log)
    assert not list(site.rglob("*.ran")), "the unsigned plugin was run"


def test_the_server_does_not_start_with_a_wrong_passphrase(site: Path) -> None:
    with serving(site, "another passphrase") as server:
        server.wait_for_the_end()
    assert server.process.returncode != 0
    assert "running on" not in server.log


def test_the_server_does_not_start_with_a_mistake_in_its_configuration(site: Path) -> None:
    with (site / "pluginapi.toml").open("a") as file:
        file.write("only_trustd = false\n")
    with serving(site) as server:
        server.wait_for_the_end()
    assert server.process.returncode != 0
    assert "pluginapi.toml:7: security.only_trustd" in server.log


def test_the_example_plugins_with_the_configuration_of_the_example(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    compile_plugin(EXAMPLES / "request_filter" / "request_filter.c", plugins / "request_filter.so")
    for name in ("access_log", "rate_limiter"):
        shutil.copy(EXAMPLES / name / f"{name}.py", plugins)
    key = SigningKeyPair.generate()
    trust_key = TrustKey.from_passphrase(PASSPHRASE, ops=1, memory_kib=8 * 1024)
    path = tmp_path / "data" / "plugin_trust_list.enc"
    state = tmp_path / "state"
    TrustList.create(path, trust_key, state_dir=state)
    TrustList.update(path, trust_key, lambda found: found.add_key(key.public_key), state_dir=state)
    security = PluginSecurity(
        SecurityPolicy(trust_list_path=path), trust_key=trust_key, state_dir=state
    )
    for plugin in sorted(plugins.iterdir()):
        file = PluginFile.open(plugin)
        manifest = read_manifest(file)
        plugin.with_name(f"{plugin.name}.sig").write_bytes(sign_plugin(file, manifest, key))
        security.trust_plugin(PluginFile.open(plugin), manifest)
    config = (APP_DIR / "pluginapi.toml").read_text()
    # So slow that only the burst counts, however long the requests of this test take.
    config = config.replace("requests_per_second = 20", "requests_per_second = 0.001")
    config = config.replace("env:PLUGINAPI_TRUST_PASSPHRASE", "env:TEST_TRUST_PASSPHRASE")
    (tmp_path / "pluginapi.toml").write_text(
        config.replace("[security]", f"[security]\nstate_dir = '{state}'")
    )
    with serving(tmp_path) as server:
        port = int(server.wait_for(r"running on http://127\.0\.0\.1:(\d+)")[1])
        traversal = raw_exchange(
            port, b"GET /notes/..%252f..%252fetc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert traversal.startswith(b"HTTP/1.1 400 ")
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE
        ) as client:
            assert client.get("/plugins").json() == ["access-log", "rate-limiter", "request-filter"]
            made = client.post("/notes", json={"title": "milk"})
            assert made.status_code == 201
            assert client.get("/.git/config").status_code == 403
            refused = client.get("/notes", headers={"x-long": "x" * 9000})
            assert refused.status_code == 431
            assert refused.headers["x-request-filter"] == "header-too-large"
            # The configured burst of the rate limiter is 40 requests.
            statuses = [client.get("/notes").status_code for _ in range(45)]
            assert set(statuses) == {200, 429}
        server.process.send_signal(signal.SIGINT)
        server.wait_for_the_end()
    assert server.process.returncode in {0, -signal.SIGINT}
    assert "nothing reads it" not in server.log
