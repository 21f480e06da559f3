"""PluginHost from its configuration file: start, refusals, monitoring and stop."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from pluginapi import (
    ConfigError,
    ContextKey,
    HostEvent,
    HttpRequest,
    HttpResponse,
    InitializationError,
    InvalidState,
    KeyFileError,
    NotFound,
    PluginError,
    PluginHost,
    PluginStatus,
    TrustListError,
    Violation,
    ViolationType,
)
from pluginapi.hooks import HookMode
from support import Forge

SECURITY = (
    "[security]\ntrust_list_path = 'trust.enc'\nstate_dir = 'state'\n"
    "trust_key_source = 'file:trust.key'\ntrust_key_form = 'raw'\n"
)


class Site:
    """A host's directory: plugins, trust list, key and configuration."""

    def __init__(self, root: Path) -> None:
        self.forge = Forge(root)
        self.root = root
        key = root / "trust.key"
        key.write_bytes(bytes(range(32)))
        key.chmod(0o600)

    def host(
        self, plugins: str = "", monitoring: str = "enabled = false", rest: str = ""
    ) -> PluginHost:
        path = self.root / "pluginapi.toml"
        path.write_text(
            f"[plugins]\ndirectory = 'plugins'\n{plugins}\n{SECURITY}[monitoring]\n{monitoring}\n"
            f"{rest}\n"
        )
        return PluginHost.from_config(path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


GUARD = """
def register_hooks(self, hooks):
    hooks.register("on_request", 200, self.guard)
def guard(self, request):
    from pluginapi import HttpResponse
    return HttpResponse(status=403) if ".." in request.path else None
"""
REQUEST = HttpRequest(method="GET", path="/notes")


async def test_a_host_runs_what_is_trusted_and_reports_the_rest(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.forge.plugin("guard", GUARD)
    stranger = site.forge.plugin("stranger", trust=False)
    broken = site.forge.plugins / "broken.py"
    broken.write_text("this is (no python")
    host = site.host()
    started = [host.started]
    async with host:
        started.append(host.started)
        assert host.monitor is None
        report = host.start_report
        assert report is not None
        assert report.loaded == ("guard",)
        assert {path: error.code for path, error in report.refused.items()} == {
            stranger: "trust.not_listed",
            broken: "manifest.syntax",
        }
        assert all(error.hint for error in report.refused.values())
        assert await host.points.on_request(REQUEST) == REQUEST
        answer = await host.points.on_request(HttpRequest(method="GET", path="/../etc"))
        assert isinstance(answer, HttpResponse)
        assert answer.status == 403
    assert [*started, host.started] == [False, True, False]
    assert host.registry.plugin_count() == 0
    assert "pluginapi trust add" in caplog.text
    # Started again it does the same.
    async with host:
        assert host.registry.is_loaded("guard")


async def test_a_second_start_is_refused_and_stop_is_idempotent(site: Site) -> None:
    site.forge.plugin("guard", GUARD)
    host = site.host()
    assert (await host.stop()).unloaded == ()
    await host.start()
    with pytest.raises(InvalidState) as caught:
        await host.start()
    assert caught.value.code == "host.started"
    assert host.started
    assert host.registry.is_loaded("guard")
    first, second = await asyncio.gather(host.stop(), host.stop())
    assert (first.unloaded, second.unloaded) == (("guard",), ())
    assert (await host.stop()).unloaded == ()


@pytest.mark.parametrize(
    ("make", "kind", "code"),
    [
        (lambda forge: forge.plugin("needed", trust=False), PluginError, "trust.not_listed"),
        (lambda forge: forge.plugin("needed", sign=False, trust=False), PluginError, None),
        (
            lambda forge: forge.plugin("needed", "def init(self, context):\n    1 / 0"),
            InitializationError,
            "lifecycle.init_failed",
        ),
        (lambda forge: None, NotFound, "registry.not_found"),
    ],
    ids=["untrusted", "unsigned", "failing", "missing"],
)
async def test_a_needed_plugin_that_fails_fails_the_start_as_a_whole(
    site: Site, make: object, kind: type[PluginError], code: str | None
) -> None:
    assert callable(make)
    mark = site.root / "shut down"
    shutdown = f"def shutdown(self):\n    open({str(mark)!r}, 'w').close()"
    site.forge.plugin("first", shutdown)
    make(site.forge)
    host = site.host("load = ['first', 'needed']")
    with pytest.raises(kind) as caught:
        await host.start()
    assert caught.value.code == (code or "signature.missing")
    assert caught.value.hint
    assert not host.started
    assert host.registry.plugin_count() == 0
    assert mark.exists(), "the plugin that was loaded before was not shut down"
    # The control: once it is sound, the same host starts, with these two and in this order.
    site.forge.plugin("another")
    site.forge.plugin("needed")
    report = await host.start()
    assert report.loaded == ("first", "needed")
    await host.stop()


async def test_a_plugin_that_fails_is_left_out(site: Site) -> None:
    bad = site.forge.plugin("bad", "def init(self, context):\n    raise OSError('no disk')")
    site.forge.plugin("good")
    async with site.host() as host:
        assert host.start_report is not None
        assert host.start_report.loaded == ("good",)
        error = host.start_report.refused[bad]
        assert isinstance(error, InitializationError)
        assert host.registry.get_plugin_info("bad").status is PluginStatus.FAILED


async def test_two_files_of_one_name_are_both_left_out(site: Site) -> None:
    one = site.forge.plugin("twin", file="one.py")
    two = site.forge.plugin("twin", file="two.py", version="2.0.0")
    async with site.host() as host:
        assert host.start_report is not None
        assert host.start_report.loaded == ()
        codes = {path: error.code for path, error in host.start_report.refused.items()}
        assert codes == {one: "registry.ambiguous", two: "registry.ambiguous"}


async def test_without_auto_load_plugins_are_only_known(site: Site) -> None:
    site.forge.plugin("idle")
    async with site.host("auto_load = false") as host:
        assert host.registry.plugin_count() == 0
        assert host.registry.total_plugin_count() == 1
        await host.registry.load_plugin_by_name("idle")
    assert host.registry.plugin_count() == 0


async def test_without_a_scan_nothing_is_known(site: Site) -> None:
    path = site.forge.plugin("idle")
    async with site.host("scan_on_start = false\nauto_load = false") as host:
        assert host.registry.total_plugin_count() == 0
        await host.registry.load_plugin(path)
    assert host.registry.plugin_count() == 0


async def test_a_missing_plugin_directory_fails_the_start(site: Site) -> None:
    site.forge.plugins.rename(site.root / "elsewhere")
    host = site.host()
    with pytest.raises(NotFound) as caught:
        await host.start()
    assert caught.value.code == "registry.no_directory"
    assert not host.started


# The trust list and its key


@pytest.mark.parametrize("source", ["file:nowhere.key", "env:TEST_NO_SUCH_VARIABLE"])
def test_a_key_that_is_not_there_is_an_error_before_the_start(site: Site, source: str) -> None:
    path = site.root / "pluginapi.toml"
    path.write_text(SECURITY.replace("file:trust.key", source))
    with pytest.raises((ConfigError, TrustListError)) as caught:
        PluginHost.from_config(path)
    assert caught.value.code in {"config.trust_key", "trust_list.key_not_found"}
    assert caught.value.hint


async def test_a_list_that_is_not_there_fails_the_start(site: Site) -> None:
    host = site.host()
    site.forge.trust_list_path.unlink()
    with pytest.raises(TrustListError) as caught:
        await host.start()
    assert caught.value.code == "trust_list.missing"
    assert "trust init" in (caught.value.hint or "")
    assert not host.started


def test_a_pinned_key_that_cannot_be_read(site: Site) -> None:
    path = site.root / "pluginapi.toml"
    path.write_text(SECURITY + "pinned_keys = ['release.pub']\n")
    with pytest.raises(KeyFileError) as caught:
        PluginHost.from_config(path)
    assert caught.value.code == "key.not_found"
    (site.root / "release.pub").write_text(site.forge.key.public_key.to_pem())
    host = PluginHost.from_config(path)
    assert host.security.is_public_key_allowed(site.forge.key.public_key)


def test_a_mistake_in_the_file_names_the_line(site: Site) -> None:
    with pytest.raises(ConfigError) as caught:
        site.host("directry = 'x'")
    assert "pluginapi.toml:3: plugins.directry" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        PluginHost.from_config(site.root / "nowhere.toml")
    assert caught.value.code == "config.not_found"


async def test_a_host_without_a_list_must_say_that_it_trusts_anybody(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.forge.plugin("a")
    config = tmp_path / "pluginapi.toml"
    config.write_text(
        "[plugins]\ndirectory = 'plugins'\n[security]\ntrust_key_source = 'none'\n"
        f"pinned_keys = ['{site.forge.key.public_key.to_hex()}']\n"
    )
    with pytest.raises(ConfigError, match="nothing could be loaded"):
        PluginHost.from_config(config)
    config.write_text(config.read_text() + "only_trusted = false\n")
    async with PluginHost.from_config(config) as host:
        assert host.registry.is_loaded("a")


# Events and monitoring


async def test_startup_and_shutdown_are_announced(site: Site) -> None:
    seen: list[tuple[str, object]] = []
    site.forge.plugin(
        "witness",
        """
def register_hooks(self, hooks):
    hooks.register("on_startup", 200, lambda event: print("started", event.plugins))
    hooks.register("on_shutdown", 200, lambda event: print("stopping", event.plugins))
""",
    )
    host = site.host()
    host.hooks.register("on_startup", 200, lambda event: seen.append(("up", event)))
    host.hooks.register("on_shutdown", 200, lambda event: seen.append(("down", event)))
    host.hooks.register("on_plugin_unload", 200, lambda event: seen.append(("unload", event.name)))
    async with host:
        assert seen == [("up", HostEvent(("witness",)))]
    assert seen[1:] == [("down", HostEvent(("witness",))), ("unload", "witness")]


async def test_handlers_of_events_that_fail_do_not_keep_the_host_from_working(site: Site) -> None:
    site.forge.plugin("a")
    host = site.host()
    for name in ("on_startup", "on_shutdown", "on_plugin_load", "on_plugin_unload"):
        host.hooks.register(name, 200, lambda event: 1 / 0)
    async with host:
        assert host.registry.is_loaded("a")
    assert host.registry.plugin_count() == 0


async def test_a_stop_that_is_cancelled_still_stops(site: Site) -> None:
    site.forge.plugin("a")
    host = site.host()
    entered = asyncio.Event()

    async def hang(event: HostEvent) -> None:
        entered.set()
        await asyncio.Event().wait()

    host.hooks.register("on_shutdown", 200, hang)
    await host.start()
    stop = asyncio.create_task(host.stop())
    await entered.wait()
    assert not host.started
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop
    assert host.registry.plugin_count() == 0
    host.hooks.unregister("on_shutdown", hang)
    async with host:
        assert host.registry.is_loaded("a")


async def test_a_start_that_is_cancelled_leaves_nothing(site: Site) -> None:
    site.forge.plugin("a")
    site.forge.plugin("slow", "async def init(self, context):\n    await asyncio.sleep(60)")
    host = site.host("load = ['a', 'slow']")
    start = asyncio.create_task(host.start())
    while not host.registry.is_loaded("a"):  # noqa: ASYNC110 - another task's state
        await asyncio.sleep(0.005)
    with pytest.raises(InvalidState) as caught:
        await host.stop()
    assert caught.value.code == "host.starting"
    with pytest.raises(InvalidState):
        await host.start()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not host.started
    assert host.registry.plugin_count() == 0
    assert (await host.stop()).unloaded == ()


async def test_the_monitor_runs_and_unmounts_a_plugin_that_violates(site: Site) -> None:
    burn = """
def register_hooks(self, hooks):
    hooks.register("on_request", 200, self.burn)
def burn(self, request):
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        pass
"""
    site.forge.plugin("burner", burn, extra="resource_limits=ResourceLimits(max_cpu_time_ms=10),")
    site.forge.plugin("calm", GUARD)
    monitoring = "enabled = true\ncheck_interval_secs = 0.05\nviolation_threshold = 2"
    async with site.host(monitoring=monitoring) as host:
        assert host.monitor is not None
        assert host.monitor.running
        async with asyncio.timeout(20):
            while host.registry.is_loaded("burner"):
                await host.points.on_request(REQUEST)
                await asyncio.sleep(0.01)
            while host.monitor.ticks < 3:  # noqa: ASYNC110 - another task's state
                await asyncio.sleep(0.01)
        error = host.registry.get_plugin_info("burner").error
        assert error is not None
        assert error.code == "limits.unmounted"
        assert host.registry.is_loaded("calm")
        monitor = host.monitor
    assert not monitor.running
    assert host.monitor is None


async def test_what_the_configuration_says_of_violations_counts(site: Site) -> None:
    site.forge.plugin("burner")
    monitoring = "enabled = false\nauto_unmount = false\nviolation_threshold = 1"
    async with site.host(monitoring=monitoring) as host:
        seen = Violation.now(ViolationType.THREADS, 9, 4, "test")
        assert not host.registry.record_violation("burner", seen)
        assert host.registry.get_violation_count("burner") == 1


async def test_tables_and_limits_reach_their_plugins(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    body = """
def init(self, context):
    from pluginapi import ContextKey
    context.set(ContextKey.custom("seen"), dict(context.get(ContextKey.Configuration)))
"""
    site.forge.plugin(
        "tuned", body, extra='requirements=PluginRequirements(context_write=("seen",)),'
    )
    rest = (
        "[limits.plugin.tuned]\nmax_cpu_time_ms = 77\n"
        "[plugin.tuned]\nrate = 5\n[plugin.tunde]\nrate = 6\n"
    )
    async with site.host(rest=rest) as host:
        assert host.context.get(ContextKey.custom("seen")) == {"rate": 5}
        assert host.registry.get_resource_limits("tuned").max_cpu_time_ms == 77
    warnings = [item.getMessage() for item in caplog.records if item.levelno == logging.WARNING]
    assert len([text for text in warnings if '[plugin."tunde"]' in text]) == 1
    assert not any('[plugin."tuned"]' in text for text in warnings)


async def test_hooks_of_the_application_are_open_to_plugins(site: Site) -> None:
    site.forge.plugin(
        "shouter",
        "def register_hooks(self, hooks):\n    hooks.register('shout', 200, str.upper)",
    )
    host = site.host()
    shout = host.hooks.define("shout", str, str, mode=HookMode.CHAIN)
    async with host:
        assert await shout("hello") == "HELLO"
    assert await shout("hello") == "hello"


async def test_a_host_answers_on_its_control_socket(site: Site) -> None:
    from pluginapi.control.client import ask

    site.forge.plugin("guard", GUARD)
    host = site.host(monitoring="control_socket = 'run/control.sock'")
    place = site.root / "run" / "control.sock"
    async with host:
        answer = await asyncio.to_thread(ask, place, "snapshot")
        assert [each["name"] for each in answer["plugins"]] == ["guard"]
    assert not place.exists()


async def test_a_host_writes_what_concerns_security(site: Site) -> None:
    site.forge.plugin("guard", GUARD)
    host = site.host(monitoring="security_log = 'security.log'")
    for _ in range(2):
        async with host:
            pass
    events = [line.split('"event": "')[1][:6] for line in _lines(site.root / "security.log")]
    assert events == ['load",', 'grant"', "unload"] * 2


def _lines(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines()
