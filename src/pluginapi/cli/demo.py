"""`pluginapi demo`: the main job, visibly, on real plugins and recorded requests."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pluginapi.cli._compiler import build_shared_library
from pluginapi.cli._examples import examples_directory
from pluginapi.cli._logging import PluginLog, log_to_stderr
from pluginapi.cli._output import Output, json_option
from pluginapi.cli._serving import handler_facts, metrics_facts, print_handlers, serve
from pluginapi.errors import ConfigError, PluginError
from pluginapi.host import PluginHost
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.recorded import load_recorded
from pluginapi.security import (
    PluginSecurity,
    SecurityPolicy,
    SigningKeyPair,
    TrustKey,
    TrustList,
    sign_plugin,
)
from pluginapi.security.files import create_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pluginapi.http import HttpRequest, HttpResponse
    from pluginapi.info import UnloadReport

__all__ = ["demo_command"]

_ROUNDS: Final = 50

_CONFIG: Final = """\
# Written by `pluginapi demo`.
[plugins]
directory = "plugins"

[security]
trust_list_path = "trust.enc"
trust_key_source = "file:trust.key"
trust_key_form = "raw"
state_dir = "state"

[plugin."request-filter"]
deny_paths = ["/admin", "/.git", "/.env", "/wp-admin", "/wp-login.php"]
deny_agents = ["sqlmap", "nikto"]

[plugin."access-log"]
format = "timed"
"""


@click.command("demo", epilog="Example: pluginapi demo --keep /tmp/pluginapi-demo")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Work in DIR, which must not exist, and leave everything there to look at.",
)
@json_option
def demo_command(keep: Path | None, as_json: bool) -> None:
    """Show the main job: keys, signatures, trust, load, hooks, refusals, unload.

    Compiles the example request filter with the system's C compiler (CC, else cc, gcc or clang).
    Everything happens in a directory of its own.
    """
    demo = Demo(Output(as_json=as_json))
    with _workspace(keep) as root, log_to_stderr():
        asyncio.run(demo.run(root))
    if keep is not None:
        config = keep / "pluginapi.toml"
        demo.say(f"kept in {keep}; try: pluginapi run --config {config}", indent=0)
        demo.report["directory"] = str(keep)
    demo.output.result(demo.report)


@contextmanager
def _workspace(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="pluginapi-demo-") as root:
            yield Path(root)
        return
    try:
        keep.mkdir(parents=True, mode=0o700)
    except FileExistsError as err:
        raise ConfigError(
            f"{keep} exists, and the demo writes into a new directory only",
            code="demo.directory_exists",
            hint="name a directory that does not exist",
            path=str(keep),
        ) from err
    yield keep


@dataclass
class Demo:
    """Walk through the steps and keep a report of what each of them found."""

    output: Output
    report: dict[str, Any] = field(default_factory=dict)
    _log: PluginLog = field(default_factory=PluginLog)
    _steps: int = 0

    async def run(self, root: Path) -> None:
        """Run every step in `root`."""
        began = time.perf_counter()
        examples = examples_directory()
        plugins = root / "plugins"
        plugins.mkdir()

        self._step("Make a key pair")
        publisher = self._make_keys(root / "keys")
        self._step("Compile a plugin in C, the request filter; take one in Python, the access log")
        native = self._compile(examples, plugins)
        script = Path(shutil.copy(examples / "plugins" / "access_log" / "access_log.py", plugins))
        self._step("Sign both: SHA3-512, name, version and time in a DSSE envelope")
        for path in (native, script):
            self._sign(path, publisher)
        self._step("Create an encrypted trust list; add the public key and both plugins")
        self._make_trust_list(root, publisher, [native, script])

        config = root / "pluginapi.toml"
        create_file(config, _CONFIG.encode(), 0o600)
        host = PluginHost.from_config(config)
        with self._log.listening():
            self._step("Scan the directory, verify, load")
            await self._start(host)
            try:
                requests = load_recorded(examples / "data" / "requests.jsonl")
                self._step(f"Run {len(requests)} recorded HTTP requests through the hooks")
                await self._serve(host, requests)
                self._step(f"Again {_ROUNDS} times, for what it costs")
                await self._measure(host, requests)
                self._step("Three refusals; no byte of these files runs")
                await self._refuse(host, plugins, native, script)
            finally:
                stopped = await host.stop()
        self._step("Unload everything")
        self._say_stopped(stopped)
        seconds = time.perf_counter() - began
        self.report["seconds"] = round(seconds, 3)
        self.output.text()
        self.output.text(f"Done in {seconds:.1f} s.", style="bold green")

    def say(self, line: str, style: str | None = None, *, indent: int = 3) -> None:
        """Print one line below the heading of a step."""
        self.output.text(" " * indent + line, style=style)

    def _step(self, title: str) -> None:
        self._steps += 1
        if self._steps > 1:
            self.output.text()
        self.output.text(f"{self._steps}. {title}", style="bold cyan")

    def _make_keys(self, directory: Path) -> SigningKeyPair:
        directory.mkdir(mode=0o700)
        pair = SigningKeyPair.generate()
        passphrase = TrustKey.generate().to_hex()
        create_file(directory / "publisher.passphrase", passphrase.encode(), 0o600)
        pair.save(directory / "publisher.key", passphrase)
        pair.public_key.save(directory / "publisher.pub")
        self.say(f"key {pair.public_key.key_id}: Ed25519, PEM; the private key is encrypted")
        self.report["key_id"] = pair.public_key.key_id
        return pair

    def _compile(self, examples: Path, plugins: Path) -> Path:
        source = examples / "plugins" / "request_filter" / "request_filter.c"
        began = time.perf_counter()
        with self.output.working("compiling"):
            library = build_shared_library(source, plugins / "request_filter")
        milliseconds = (time.perf_counter() - began) * 1e3
        self.say(f"{library.name}: {library.stat().st_size:,} bytes in {milliseconds:.0f} ms")
        self.report["compile_ms"] = round(milliseconds)
        return library

    def _sign(self, path: Path, key: SigningKeyPair) -> None:
        manifest, digest = _write_signature(path, key)
        self.say(f"{manifest:<22}{digest[:24]}…  → {path.name}.sig")
        self.report.setdefault("signed", []).append({"plugin": manifest, "sha3_512": digest})

    def _make_trust_list(self, root: Path, publisher: SigningKeyPair, paths: list[Path]) -> None:
        path, key = root / "trust.enc", TrustKey.generate()
        create_file(root / "trust.key", bytes.fromhex(key.to_hex()), 0o600)
        TrustList.create(path, key, state_dir=root / "state")
        security = PluginSecurity(
            SecurityPolicy(trust_list_path=path), trust_key=key, state_dir=root / "state"
        )
        files = [PluginFile.open(plugin) for plugin in paths]
        entries = security.trust_plugins(
            [(file, read_manifest(file)) for file in files],
            keys=[publisher.public_key.with_label("publisher")],
            note="added by pluginapi demo",
        )
        self.say(
            f"{path.name}: 1 key, {len(entries)} plugins, {path.stat().st_size} bytes "
            "under XChaCha20-Poly1305"
        )
        self.report["trust_list"] = {"keys": 1, "plugins": len(entries)}

    async def _start(self, host: PluginHost) -> None:
        started = await host.start()
        for error in started.refused.values():
            raise error
        for name in started.loaded:
            info = host.registry.get_plugin_info(name)
            limits = info.resource_limits
            heap = "" if limits is None else f"heap limit {limits.max_heap_bytes >> 20} MiB"
            kind, trust = info.manifest.kind.value, info.trust_level.name.lower()
            self.say(
                f"{info.name} {info.version}".ljust(22)
                + f"{info.status.value}, {trust}, {kind}, {heap}",
                "green",
            )
        self.report["loaded"] = list(started.loaded)

    async def _serve(self, host: PluginHost, requests: list[HttpRequest]) -> None:
        """Show what the plugins do: what the filter refuses and what the log writes."""
        refused: Counter[tuple[int, str]] = Counter()
        first: dict[tuple[int, str], str] = {}

        def answered(request: HttpRequest, response: HttpResponse) -> None:
            kind = (response.status, response.header("x-request-filter") or "")
            refused[kind] += 1
            first.setdefault(kind, f"{request.method} {_shortened(request.target)}")

        self._log.take()
        served = await serve(host, requests, answered=answered)
        self.say(f"{served.passed} passed, {refused.total()} were refused by request-filter:")
        self.output.table(
            ["STATUS", "REASON", "COUNT", "FOR EXAMPLE"],
            [
                [str(status), reason, str(count), first[status, reason]]
                for (status, reason), count in sorted(refused.items())
            ],
            for_people=True,
            indent=3,
            right=(2,),
        )
        lines = self._log.take()
        self.say(f"{lines[-1][0]} wrote {len(lines)} lines, the last:")
        self.say(f"  {lines[-1][1]}", "dim")
        self.report["served"] = served.to_dict()
        self.report["refused_requests"] = [
            {"status": status, "reason": reason, "count": count}
            for (status, reason), count in sorted(refused.items())
        ]

    async def _measure(self, host: PluginHost, requests: list[HttpRequest]) -> None:
        with self.output.progress("requests", _ROUNDS * len(requests)) as advance:
            served = await serve(host, requests, rounds=_ROUNDS, advance=advance)
        handlers, metrics = handler_facts(host), metrics_facts(host)
        print_handlers(self.output, handlers, metrics)
        self.say(
            f"{served.requests:,} requests in {served.seconds:.2f} s: "
            f"{served.per_second:,.0f} a second, one after the other; "
            f"median {served.percentile_us(50):.0f} µs, 99 % within "
            f"{served.percentile_us(99):.0f} µs"
        )
        self.report["measured"] = served.to_dict()
        self.report["handlers"] = handlers
        self.report["plugins"] = metrics

    async def _refuse(self, host: PluginHost, plugins: Path, native: Path, script: Path) -> None:
        unsigned = plugins / f"unsigned{script.suffix}"
        shutil.copy(script, unsigned)
        flipped = plugins / f"flipped{native.suffix}"
        _copy_with_flipped_bit(native, flipped)
        stranger = plugins / f"stranger{script.suffix}"
        shutil.copy(script, stranger)
        _write_signature(stranger, SigningKeyPair.generate())
        refusals = []
        for what, path in (
            ("unsigned", unsigned),
            ("one flipped bit", flipped),
            ("unknown key", stranger),
        ):
            try:
                # The way of every load; the registry would ask first whether the name is taken.
                live = await host.registry.loader.load(path)
            except PluginError as err:
                refusals.append({"case": what, **err.to_dict()})
                self._say_refusal(what, path, err)
            else:
                live.close()
                raise AssertionError(f"{path} was loaded although it is {what}")
        self.report["refusals"] = refusals

    def _say_refusal(self, what: str, path: Path, error: PluginError) -> None:
        # The directory is long and the same in all of them.
        place = f"{path.parent}{os.sep}"
        hint = (error.hint or "").replace(place, "")
        self.say(f"{what:<17}{path.name}  [{error.code}]", "bold yellow")
        self.say(f"{'  reason':<17}{error.message.replace(place, '')}")
        self.say(f"{'  remedy':<17}{hint}")

    def _say_stopped(self, stopped: UnloadReport) -> None:
        for name in stopped.unloaded:
            self.say(f"{name} unloaded", "green")
        for name, text in self._log.take()[-len(stopped.unloaded) :]:
            self.say(f"{name} says: {text}", "dim")
        for name, error in stopped.failed.items():
            self.say(f"{name} did not shut down cleanly: {error}", "red")
        self.report["unloaded"] = list(stopped.unloaded)
        self.report["unload_failures"] = [error.to_dict() for error in stopped.failed.values()]


def _write_signature(path: Path, key: SigningKeyPair) -> tuple[str, str]:
    file = PluginFile.open(path)
    manifest = read_manifest(file)
    _beside(path).write_bytes(sign_plugin(file, manifest, key))
    return f"{manifest.name} {manifest.version}", file.sha3_512


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".sig")


def _copy_with_flipped_bit(source: Path, target: Path) -> None:
    """Copy a plugin and its signature; one letter of its description becomes another.

    The file stays well-formed, so that nothing but the hash tells.
    """
    file = PluginFile.open(source)
    data = bytearray(file.data)
    data[data.index((read_manifest(file).description or "").encode())] ^= 1
    target.write_bytes(data)
    shutil.copy(_beside(source), _beside(target))


def _shortened(text: str, limit: int = 48) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
