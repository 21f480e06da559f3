"""pluginapi.toml: what is accepted, and that every mistake is named with its line."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.config import HostConfig, LimitsConfig, TrustKeySource
from pluginapi.errors import ConfigError, IoError
from pluginapi.limits import ResourceLimits

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "pluginapi.toml"
BASE = Path("/srv/app")


def read(text: str) -> HostConfig:
    return HostConfig.from_text(text, BASE)


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith("pluginapi.toml:")
    assert caught.value.hint
    return caught.value


def test_the_example_shows_every_key_with_its_default() -> None:
    example = HostConfig.load(EXAMPLE)
    default = HostConfig.from_text("", EXAMPLE.parent)
    for section in ("plugins", "security", "monitoring", "lifecycle", "sandboxing"):
        assert getattr(example, section) == getattr(default, section)
    assert example.limits.default == default.limits.default
    assert example.limits.ceiling == default.limits.ceiling
    text = EXAMPLE.read_text()
    for section in ("plugins", "security", "monitoring", "lifecycle", "sandboxing"):
        for field in dataclasses.fields(getattr(default, section)):
            assert field.name in text


def test_the_optional_keys_of_the_example_are_valid_too() -> None:
    text = EXAMPLE.read_text()
    for line in (
        'state_dir = "state"',
        "violation_window_secs = 60",
        "memory_limit_mb = 64",
        "max_pids = 8",
    ):
        assert f"# {line}" in text
        text = text.replace(f"# {line}", line)
    config = read(text)
    assert config.security.state_dir == BASE / "state"
    assert config.monitoring.violation_window_secs == 60
    assert config.sandboxing.cgroups.memory_limit_mb == 64
    assert config.sandboxing.cgroups.max_pids == 8


def test_an_empty_file_has_the_documented_defaults() -> None:
    config = read("")
    assert config.security.only_trusted is True
    assert config.security.trust_list_path == BASE / "data/plugin_trust_list.enc"
    assert config.limits.default == ResourceLimits()
    assert config.monitoring.check_interval_secs == 10
    assert config.monitoring.violation_threshold == 10
    assert config.monitoring.auto_unmount is True
    assert config.sandboxing.enabled is False
    assert config.source is None


def test_every_section_is_read() -> None:
    config = read(
        """
        [plugins]
        directory = "/opt/plugins"
        load = ["acme.filter", "log"]
        [security]
        only_trusted = false
        trust_list_path = "trust/list.enc"
        trust_key_source = "file:trust/key"
        trust_key_form = "raw"
        max_plugin_bytes = 1024
        [monitoring]
        enabled = false
        check_interval_secs = 0.5
        auto_unmount = false
        violation_threshold = 3
        violation_window_secs = 60
        log_violations = false
        [lifecycle]
        init_timeout_secs = 1.5
        shutdown_timeout_secs = 2
        [sandboxing]
        mode = "minimal"
        cgroups = { memory_limit_mb = 64, cpu_quota_percent = 50, max_pids = 8 }
        """
    )
    assert config.plugins.directory == Path("/opt/plugins")
    assert config.plugins.load == ("acme.filter", "log")
    assert config.security.only_trusted is False
    assert config.security.trust_list_path == BASE / "trust/list.enc"
    assert config.security.trust_key_source == TrustKeySource(
        "file", path=BASE / "trust/key", form="raw"
    )
    assert config.security.max_plugin_bytes == 1024
    assert config.monitoring.enabled is False
    assert config.monitoring.check_interval_secs == 0.5
    assert config.monitoring.violation_window_secs == 60
    assert config.monitoring.log_violations is False
    assert config.lifecycle.init_timeout_secs == 1.5
    assert config.lifecycle.shutdown_timeout_secs == 2
    assert config.sandboxing.mode == "minimal"
    assert dataclasses.astuple(config.sandboxing.cgroups) == (True, 64, 50, 8)


@pytest.mark.parametrize(
    ("text", "start", "code", "hint"),
    [
        ("x", "pluginapi.toml:1: ", "config.syntax", "TOML 1.0"),
        ("\n\na = [1,\n", "pluginapi.toml:3: ", "config.syntax", "TOML 1.0"),
        ("[plugins]\n\nload = [1 2]\n", "pluginapi.toml:3: ", "config.syntax", "TOML 1.0"),
        ("a = 1\na = 2\n", "pluginapi.toml:2: ", "config.syntax", "TOML 1.0"),
        ("\n[securty]\n", "pluginapi.toml:2: securty:", "config.unknown_key", "'security'"),
        (
            "[security]\nonly_trustd = false",
            "pluginapi.toml:2: security.only_trustd: [security]",
            "config.unknown_key",
            "did you mean 'only_trusted'",
        ),
        ("plugins.dir = 'x'", "pluginapi.toml:1: plugins.dir:", "config.unknown_key", "directory"),
        ('"\\u0000" = 1', 'pluginapi.toml:1: "\\x00":', "config.unknown_key", "plugins"),
        ("plugins = 3", "pluginapi.toml:1: plugins: ", "config.type", "[plugins]"),
        ("[[plugins]]\n", "pluginapi.toml:1: plugins: ", "config.type", "[plugins]"),
        ("[plugins]\nload = 'x'", "pluginapi.toml:2: plugins.load:", "config.type", "array"),
        (
            "[plugins]\nload = [\n  'a',  # ok\n\n  5,\n]",
            "pluginapi.toml:5: plugins.load[1]: expected a text, found the whole number 5",
            "config.type",
            "quotation marks",
        ),
        (
            "[plugins]\nload = ['A']",
            "pluginapi.toml:2: plugins.load[0]:",
            "config.value",
            "lower-case",
        ),
        (
            "[plugins]\nload = ['a',\n'a']",
            "pluginapi.toml:3: plugins.load[1]:",
            "config.value",
            "once",
        ),
        (
            "[plugins]\nauto_load = false\nload = ['a']",
            "pluginapi.toml:3: plugins.load:",
            "config.value",
            "auto_load",
        ),
        (
            "[plugins]\nscan_on_start = false",
            "pluginapi.toml:2: plugins.scan_on_start:",
            "config.value",
            "auto_load to false",
        ),
        (
            "[plugins]\ndirectory = ''",
            "pluginapi.toml:2: plugins.directory:",
            "config.value",
            "path",
        ),
        (
            "[plugins]\ndirectory = '~/p'",
            "pluginapi.toml:2: plugins.directory:",
            "config.value",
            "path",
        ),
        (
            '[plugins]\ndirectory = "a\\u0000b"',
            "pluginapi.toml:2: plugins.directory:",
            "config.value",
            "path",
        ),
        (
            "[security]\nonly_trusted = 'yes'",
            "pluginapi.toml:2: security.only_trusted: expected true or false",
            "config.type",
            "true or false",
        ),
        ("[security]\nonly_trusted = 1", "pluginapi.toml:2: ", "config.type", "true or false"),
        ("[security]\nmax_plugin_bytes = 0", "pluginapi.toml:2: ", "config.value", "from 1 to"),
        ("[security]\nmax_plugin_bytes = '5 MB'", "pluginapi.toml:2: ", "config.value", "MiB"),
        ("[security]\nmax_plugin_bytes = '9 GiB'", "pluginapi.toml:2: ", "config.value", "4 GiB"),
        ("[security]\nmax_plugin_bytes = 1.5", "pluginapi.toml:2: ", "config.type", "4 GiB"),
        ("[security]\nmax_plugin_bytes = true", "pluginapi.toml:2: ", "config.type", "4 GiB"),
        (
            "[security]\ntrust_key_source = 'env:A B'",
            "pluginapi.toml:2: ",
            "config.value",
            "env:NAME",
        ),
        (
            "[security]\ntrust_key_source = 'file:'",
            "pluginapi.toml:2: ",
            "config.value",
            "file:PATH",
        ),
        ("[security]\ntrust_key_source = 'none:x'", "pluginapi.toml:2: ", "config.value", "none"),
        ("[security]\ntrust_key_form = 'hex'", "pluginapi.toml:2: ", "config.value", "raw"),
        (
            "[security]\ntrust_key_source = 'none'\ntrust_key_form = 'raw'",
            "pluginapi.toml:3: security.trust_key_form:",
            "config.value",
            "remove",
        ),
        ("[security]\npinned_keys = ['abcd']", "pluginapi.toml:2: ", "config.value", "public key"),
        (
            "[security]\npinned_keys = ['a.pem',\n'a.pem']",
            "pluginapi.toml:3: security.pinned_keys[1]:",
            "config.value",
            "once",
        ),
        (
            "[monitoring]\ncheck_interval_secs = 0",
            "pluginapi.toml:2: ",
            "config.value",
            "0.05 to 3600",
        ),
        (
            "[monitoring]\ncheck_interval_secs = nan",
            "pluginapi.toml:2: ",
            "config.value",
            "0.05 to",
        ),
        (
            "[monitoring]\ncheck_interval_secs = -inf",
            "pluginapi.toml:2: ",
            "config.value",
            "0.05 to",
        ),
        ("[monitoring]\ncheck_interval_secs = '1'", "pluginapi.toml:2: ", "config.type", "seconds"),
        (
            "[monitoring]\ncheck_interval_secs = true",
            "pluginapi.toml:2: ",
            "config.type",
            "seconds",
        ),
        (
            "[monitoring]\ncheck_interval_secs = 1" + "0" * 400,
            "pluginapi.toml:2: ",
            "config.value",
            "0.05 to",
        ),
        ("[monitoring]\nviolation_threshold = 0", "pluginapi.toml:2: ", "config.value", "1 to"),
        ("[monitoring]\nviolation_threshold = 1.0", "pluginapi.toml:2: ", "config.type", "whole"),
        ("[monitoring]\nviolation_window_secs = 0", "pluginapi.toml:2: ", "config.value", "0.05"),
        (
            "[monitoring]\nviolation_threshold = 2026-11-23",
            "pluginapi.toml:2: monitoring.violation_threshold: expected a whole number from 1 to",
            "config.type",
            "whole",
        ),
        (
            "[lifecycle]\ninit_timeout_secs = 0",
            "pluginapi.toml:2: ",
            "config.value",
            "0.01 to 3600",
        ),
        ("[limits]\nheap = 1", "pluginapi.toml:2: limits.heap:", "config.unknown_key", "ceiling"),
        (
            "[limits.default]\nmax_thread = 1",
            "pluginapi.toml:2: ",
            "config.unknown_key",
            "max_threads",
        ),
        ("[limits.default]\nmax_threads = []", "pluginapi.toml:2: ", "config.type", "whole"),
        ("[limits.default]\nmax_threads = {}", "pluginapi.toml:2: ", "config.type", "whole"),
        (
            "[limits.default]\nmax_threads = 8\n[limits.ceiling]\nmax_threads = 7",
            "pluginapi.toml:2: limits.default.max_threads: 8 is above the ceiling of 7",
            "config.value",
            "at most 7",
        ),
        (
            "[services.plugin]\n'a.b' = 'db.fetch'",
            'pluginapi.toml:2: services.plugin."a.b": expected an array',
            "config.type",
            "write an array of texts",
        ),
        (
            "[services.plugin]\n'a.b' = ['db.fetch', 'db.*']",
            "pluginapi.toml:2: services.plugin.\"a.b\"[1]: 'db.*' does not name one method",
            "config.value",
            "every method is granted by its name",
        ),
        (
            "[services.plugin]\n'a.b' = ['db.fetch', 'db.fetch']",
            "pluginapi.toml:2: services.plugin.\"a.b\"[1]: 'db.fetch' is granted twice",
            "config.value",
            "name it once",
        ),
        ("[services]\nall = true", "pluginapi.toml:2: services.all:", "config.unknown_key", ""),
        (
            "[limits.plugin.'Acme']\n",
            'pluginapi.toml:1: limits.plugin.Acme: plugin name "',
            "config.value",
            "lower-case",
        ),
        (
            "[limits.plugin.'a.b']\nmax_heap_bytes = 1",
            'pluginapi.toml:2: limits.plugin."a.b".max_heap_bytes:',
            "config.value",
            "65536",
        ),
        ("[plugin.Acme]\n", "pluginapi.toml:1: plugin.Acme:", "config.value", "lower-case"),
        ("[plugin]\nacme = 1\n", "pluginapi.toml:2: plugin.acme:", "config.type", "[plugin.acme]"),
        (
            "[plugin.a]\nx = 1\ny = [\n{ z = 07:32:00 }]",
            "pluginapi.toml:4: plugin.a.y[0].z: a date or time",
            "config.type",
            "text",
        ),
        ("[plugin.a]\nx = inf", "pluginapi.toml:2: plugin.a.x:", "config.value", "finite"),
        ("[plugin.a]\nx = 18446744073709551616", "pluginapi.toml:2: ", "config.value", "smaller"),
        ("[plugin.a]\nx." + "y." * 20 + "z = 1", "pluginapi.toml:2: ", "config.value", "flatten"),
        ("[sandboxing]\nmode = 'strikt'", "pluginapi.toml:2: ", "config.value", "mean 'strict'"),
        ("[sandboxing.cgroups]\nmax_pids = 0", "pluginapi.toml:2: ", "config.value", "from 1"),
        ("[sandboxing.cgroups]\npids = 1", "pluginapi.toml:2: ", "config.unknown_key", "max_pids"),
        (
            "[sandboxing]\n# yes\nenabled = true",
            "pluginapi.toml:3: sandboxing.enabled: plugins run in the host's process",
            "config.value",
            'set mode = "process" in section [isolation]',
        ),
    ],
)
def test_mistakes_are_named_with_line_and_remedy(
    text: str, start: str, code: str, hint: str
) -> None:
    error = refusal(text)
    assert str(error).replace("'", '"').startswith(start.replace("'", '"'))
    assert error.code == code
    assert hint in str(error.hint)
    assert error.details["line"] == int(start.split(":")[1])


def test_line_ends_of_windows_count_once() -> None:
    assert refusal("\r\n[security]\r\nx = 1\r\n").details["line"] == 3


def test_nesting_beyond_the_stack_is_an_error() -> None:
    error = refusal("x = " + "[" * 20_000 + "]" * 20_000)
    assert error.code == "config.syntax"


def test_numbers_beyond_the_digit_limit_are_an_error() -> None:
    assert refusal("x = " + "1" * 10_000).code == "config.syntax"


@pytest.mark.parametrize(
    "secret", ["'hunter2'", "'hunter2:x'", "'env:hunter2!'", "70707070", "['hunter2']"]
)
def test_a_secret_written_into_the_file_is_not_repeated(secret: str) -> None:
    error = refusal(f"[security]\ntrust_key_source = {secret}\n")
    shown = f"{error}{error.hint}{error.details}"
    assert "hunter2" not in shown
    assert "7070" not in shown
    assert "never stands in this file" in shown or error.code == "config.type"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("env:KEY_1", TrustKeySource("env", variable="KEY_1")),
        ("file:/run/key", TrustKeySource("file", path=Path("/run/key"))),
        ("file:key", TrustKeySource("file", path=BASE / "key")),
        ("none", TrustKeySource("none")),
    ],
)
def test_trust_key_sources(text: str, expected: TrustKeySource) -> None:
    trusting = "only_trusted = false\n" if text == "none" else ""
    source = read(f"[security]\n{trusting}trust_key_source = '{text}'").security.trust_key_source
    assert source == expected
    assert str(source) == text.replace("file:key", f"file:{BASE}/key")


def test_a_host_that_could_load_nothing_is_refused() -> None:
    error = refusal("[security]\ntrust_key_source = 'none'\n")
    assert error.code == "config.value"
    assert "only_trusted" in error.message
    assert not read(
        "[security]\nonly_trusted = false\ntrust_key_source = 'none'\n"
    ).security.only_trusted


def test_pinned_keys_are_hexadecimal_digits_or_files() -> None:
    digits = "AB" * 32
    config = read(f"[security]\npinned_keys = ['{digits}', 'keys/acme.pem', '/etc/k.pub']")
    assert config.security.pinned_keys == (
        digits.lower(),
        BASE / "keys/acme.pem",
        Path("/etc/k.pub"),
    )
    # The same key in another case is the same key.
    assert (
        refusal(f"[security]\npinned_keys = ['{digits}', '{digits.lower()}']").code
        == "config.value"
    )


def test_limits_are_capped_and_overridden() -> None:
    limits = read(
        """
        [limits.default]
        max_heap_bytes = "1 MiB"
        [limits.ceiling]
        max_heap_bytes = "2 MiB"
        max_threads = 2
        [limits.plugin."acme.big"]
        max_heap_bytes = "1 GiB"
        """
    ).limits
    mib = 1024 * 1024
    assert limits.for_plugin("x").max_heap_bytes == mib
    assert limits.for_plugin("x").max_threads == 2
    assert limits.for_plugin("x", ResourceLimits(max_heap_bytes=64 * mib)).max_heap_bytes == 2 * mib
    assert limits.for_plugin("x", ResourceLimits(max_threads=1)).max_threads == 1
    big = limits.for_plugin("acme.big", ResourceLimits(max_heap_bytes=64 * mib, max_threads=9))
    assert big.max_heap_bytes == 1024 * mib
    assert big.max_threads == 2


def test_a_lower_ceiling_lowers_the_defaults_that_nobody_wrote() -> None:
    assert read("[limits.ceiling]\nmax_threads = 2").limits.default.max_threads == 2
    assert LimitsConfig().for_plugin("x") == ResourceLimits()


def test_configuration_of_a_plugin_is_a_copy() -> None:
    config = read("[plugin.'acme.filter']\ndeny = ['/.git']\nnested = { on = true }\n")
    table = config.configuration_for("acme.filter")
    assert table == {"deny": ["/.git"], "nested": {"on": True}}
    table["deny"].append("changed")
    table["nested"]["on"] = False
    assert config.configuration_for("acme.filter") == {"deny": ["/.git"], "nested": {"on": True}}
    assert config.configuration_for("other") == {}


PLAIN = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def as_toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
        case list():
            return "[" + ", ".join(map(as_toml, value)) + "]"
        case dict():
            return (
                "{"
                + ", ".join(f"{as_toml(key)} = {as_toml(item)}" for key, item in value.items())
                + "}"
            )
        case _:
            return str(value)


@given(PLAIN)
def test_what_a_plugin_is_handed_can_be_encoded(value: Any) -> None:
    text = f"plugin.a.x = {as_toml(value)}"
    written = tomllib.loads(text)["plugin"]["a"]
    try:
        config = read(text)
    except ConfigError as err:
        refused = err.code
    else:
        refused = ""
        table = config.configuration_for("a")
        assert table == written
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(table)) == table
        assert msgspec.json.decode(msgspec.json.encode(table)) == table
    assert refused in {"", "config.value"}


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_one_clear_error(text: str) -> None:
    try:
        config = read(text)
    except ConfigError as err:
        error = err
    else:
        assert config.security.only_trusted is True
        return
    assert str(error).startswith("pluginapi.toml:")
    assert 1 <= error.details["line"] <= text.count("\n") + 1
    assert error.hint


def test_loading_resolves_paths_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "host.toml").write_text("[plugins]\ndirectory = 'mine'\n")
    monkeypatch.chdir(tmp_path)
    config = HostConfig.load("host.toml")
    assert config.plugins.directory == tmp_path / "mine"
    assert config.source == tmp_path / "host.toml"


def test_loading_names_the_file_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text("\nx = 1")
    with pytest.raises(ConfigError, match=r"^other\.toml:2: x:") as caught:
        HostConfig.load(path)
    assert caught.value.details["file"] == str(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file") as caught:
        HostConfig.load(tmp_path / "none.toml")
    assert caught.value.code == "config.not_found"


def test_text_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pluginapi.toml"
    path.write_bytes(b"# \n# \xff\n")
    with pytest.raises(ConfigError, match=r"^pluginapi\.toml:2: byte 5") as caught:
        HostConfig.load(path)
    assert caught.value.code == "config.syntax"


def test_a_huge_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pluginapi.toml"
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        HostConfig.load(path)
    path.write_bytes(b"#" * (1024 * 1024))
    assert HostConfig.load(path).security.only_trusted is True


def test_a_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IoError, match="cannot be read"):
        HostConfig.load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the platform has no FIFOs")
def test_a_fifo_is_an_error_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pluginapi.toml")
    with pytest.raises(ConfigError, match="not a regular file"):
        HostConfig.load(tmp_path / "pluginapi.toml")


def test_services_are_granted_method_by_method(tmp_path: Path) -> None:
    config = HostConfig.from_text(
        '[services.plugin]\n"acme.report" = ["database.fetch", "cache.get"]\n"acme.idle" = []\n',
        tmp_path,
    )
    assert config.services.for_plugin("acme.report") == ("database.fetch", "cache.get")
    assert config.services.for_plugin("acme.idle") == ()
    assert config.services.for_plugin("acme.other") == ()
    assert HostConfig().services.plugins == {}
