"""The configuration of a host: `pluginapi.toml`, read strictly into frozen, typed values.

A key that means nothing, a value of the wrong type and a value out of bounds are errors that name
the line: a misspelt ``only_trustd = true`` must never leave a host with a default. No secret stands
in the file, only where to find it. ``examples/pluginapi.toml`` shows every key with its default.
"""

from __future__ import annotations

import copy
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal

from pluginapi.config_reader import Document, Table, path_complaint
from pluginapi.errors import ConfigError, InvalidManifest, IoError
from pluginapi.isolation import Isolation
from pluginapi.limits import MAX_HEAP_BYTES, ResourceLimits
from pluginapi.manifest import check_name
from pluginapi.process.settings import ProcessSettings
from pluginapi.sandboxing import CgroupsConfig, SandboxingConfig, read_sandboxing
from pluginapi.services.names import is_service_method

__all__ = [
    "CgroupsConfig",
    "HostConfig",
    "IsolationConfig",
    "LifecycleConfig",
    "LimitsConfig",
    "MonitoringConfig",
    "PluginsConfig",
    "SandboxingConfig",
    "SecurityConfig",
    "ServicesConfig",
    "TrustKeySource",
]

_MIB: Final = 1024 * 1024
_MAX_CONFIG_BYTES: Final = 1024 * 1024
_MAX_FILE_BYTES: Final = 4096 * _MIB
_MAX_THRESHOLD: Final = 1_000_000
_HOUR: Final = 3600.0
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEX_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginsConfig:
    """Say where plugins are and which of them are loaded at start: ``[plugins]``.

    Attributes:
        directory: Directory that is scanned, not its subdirectories.
        auto_load: Load plugins when the host starts.
        scan_on_start: Scan the directory when the host starts.
        load: Names of the plugins to load at start, in this order; empty means all that the
            security policy lets load.
    """

    directory: Path = Path("plugins")
    auto_load: bool = True
    scan_on_start: bool = True
    load: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustKeySource:
    """Say where the key of the trust list comes from; it never holds the key.

    Attributes:
        kind: ``env`` (an environment variable), ``file``, or ``none`` (no trust list is opened).
        variable: Name of the environment variable, for ``env``.
        path: The file, for ``file``; its content is used without one final line end.
        form: ``passphrase`` (the key is derived with Argon2id), or ``raw`` (32 bytes: in a file as
            they are, in an environment variable as 64 hexadecimal digits).
    """

    kind: Literal["env", "file", "none"]
    variable: str | None = None
    path: Path | None = None
    form: Literal["passphrase", "raw"] = "passphrase"

    def __str__(self) -> str:
        if self.kind == "none":
            return "none"
        return f"{self.kind}:{self.variable if self.kind == 'env' else self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityConfig:
    """Say which plugins may run at all: ``[security]``.

    Attributes:
        only_trusted: Refuse every plugin that is not trusted.
        trust_list_path: The encrypted trust list.
        trust_key_source: Where the key of the trust list comes from.
        state_dir: Where the host remembers which trust lists it has seen, so that an older copy
            put back is noticed; None for the user's state directory.
        pinned_keys: Public keys that are trusted whatever the list says: 64 lower-case hexadecimal
            digits, or the path of a PEM file.
        max_plugin_bytes: Largest plugin file that is opened, in bytes.
    """

    only_trusted: bool = True
    trust_list_path: Path = Path("data/plugin_trust_list.enc")
    trust_key_source: TrustKeySource = TrustKeySource("env", "PLUGINAPI_TRUST_PASSPHRASE")
    state_dir: Path | None = None
    pinned_keys: tuple[str | Path, ...] = ()
    max_plugin_bytes: int = 256 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringConfig:
    """Say how plugins are watched: ``[monitoring]``.

    Attributes:
        enabled: Measure the loaded plugins at intervals.
        check_interval_secs: Seconds between two measurements, 0.05 to 3600.
        auto_unmount: Unload a plugin that reaches the threshold.
        violation_threshold: Violations at which a plugin is unloaded, 1 to 1 000 000.
        violation_window_secs: Count only violations of the last so many seconds; None counts all.
        log_violations: Log every violation with level WARNING.
        quarantine_secs: Refuse a plugin that was unmounted for so many seconds, and each further
            time for twice as long; 0 refuses none.
        quarantine_most_secs: The longest that it is refused.
        security_log: The file that loads, refusals, grants, violations and kills are written to,
            JSON lines, or None.
        security_log_bytes: Size at which it is rotated.
        security_log_files: Rotated files that are kept.
        control_socket: Where `pluginapi top` asks, or None; its directory is used for nothing else.
    """

    enabled: bool = True
    check_interval_secs: float = 10.0
    auto_unmount: bool = True
    violation_threshold: int = 10
    violation_window_secs: float | None = None
    log_violations: bool = True
    quarantine_secs: float = 60.0
    quarantine_most_secs: float = 3600.0
    security_log: Path | None = None
    security_log_bytes: int = 10 << 20
    security_log_files: int = 5
    control_socket: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """Say what plugins may use: ``[limits]``.

    Attributes:
        default: Limits of a plugin that declares none.
        ceiling: What a plugin gets at most, whatever it declares.
        overrides: Limits that the operator sets for single plugins, by name and field; they stand
            above the plugin's declaration and above the ceiling.
    """

    DEFAULT_CEILING: ClassVar[ResourceLimits] = ResourceLimits(
        max_heap_bytes=512 * _MIB,
        max_cpu_time_ms=10_000,
        max_threads=32,
        max_file_descriptors=256,
        max_connections=256,
    )

    default: ResourceLimits = field(default_factory=ResourceLimits)
    ceiling: ResourceLimits = DEFAULT_CEILING
    overrides: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: MappingProxyType({}))

    def for_plugin(self, name: str, declared: ResourceLimits | None = None) -> ResourceLimits:
        """Return the limits in force for a plugin that declares these in its manifest."""
        limits = (self.default if declared is None else declared).capped_by(self.ceiling)
        return replace(limits, **self.overrides.get(name, {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleConfig:
    """Say how long plugins may take: ``[lifecycle]``.

    Attributes:
        init_timeout_secs: For `init` and `register_hooks` together, 0.01 to 3600 s.
        shutdown_timeout_secs: For `shutdown`, 0.01 to 3600 s.
    """

    init_timeout_secs: float = 30.0
    shutdown_timeout_secs: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationConfig:
    """Say where plugins run, and how their processes are kept: ``[isolation]``.

    Attributes:
        mode: Where plugins run: ``in-process``, or ``process``: each in one of its own.
        plugins: Where single plugins run, by name: ``[isolation.plugin]``.
        processes: The bounds of their processes.
    """

    mode: Isolation = Isolation.IN_PROCESS
    plugins: Mapping[str, Isolation] = field(default_factory=lambda: MappingProxyType({}))
    processes: ProcessSettings = field(default_factory=ProcessSettings)

    def for_plugin(self, name: str) -> Isolation:
        """Return where a plugin runs."""
        return self.plugins.get(name, self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicesConfig:
    """Say which methods of the host's services plugins may call: ``[services]``.

    Attributes:
        plugins: What single plugins are granted, by name, as ``service.method``:
            ``[services.plugin]``. They must declare it too; nothing is granted by default.
    """

    plugins: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def for_plugin(self, name: str) -> tuple[str, ...]:
        """Return what a plugin is granted."""
        return self.plugins.get(name, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """Hold everything that `pluginapi.toml` says, with defaults for what it leaves out.

    Paths are absolute when the configuration was read from a file or text: relative ones start at
    the directory of the file. Instances are immutable and safe to share between threads.

    Attributes:
        source: The file that was read, or None.
        plugin_tables: The ``[plugin."name"]`` tables by plugin name; use `configuration_for`.
    """

    plugins: PluginsConfig = field(default_factory=PluginsConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    monitoring: MonitoringConfig = field(default_factory=MonitoringConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    lifecycle: LifecycleConfig = field(default_factory=LifecycleConfig)
    isolation: IsolationConfig = field(default_factory=IsolationConfig)
    services: ServicesConfig = field(default_factory=ServicesConfig)
    sandboxing: SandboxingConfig = field(default_factory=SandboxingConfig)
    plugin_tables: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    source: Path | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HostConfig:
        """Read a configuration file of at most 1 MiB.

        Raises:
            ConfigError: ``config.not_found`` without such a file; otherwise the message starts
                with ``<file name>:<line>:`` and names the key, and the hint says what is allowed.
            IoError: When the file cannot be read.
        """
        path = Path(path).absolute()
        data = _read(path)
        try:
            text = data.decode()
        except UnicodeDecodeError as err:
            line = data.count(b"\n", 0, err.start) + 1
            raise ConfigError(
                f"{path.name}:{line}: byte {err.start} of the file is not UTF-8",
                code="config.syntax",
                hint="save the file with the encoding UTF-8",
                file=str(path),
                line=line,
            ) from err
        return replace(cls.from_text(text, path.parent, name=path.name), source=path)

    @classmethod
    def from_text(
        cls, text: str, base: str | os.PathLike[str], *, name: str = "pluginapi.toml"
    ) -> HostConfig:
        """Read a configuration from TOML text.

        Args:
            text: The document.
            base: Directory that relative paths start at.
            name: How error messages call the document.

        Raises:
            ConfigError: The message starts with ``<name>:<line>:`` and names the key, and the
                hint says what is allowed.
        """
        root = Document(text, name, Path(base).absolute()).root()
        sandboxing_table = root.table("sandboxing")
        config = cls(
            plugins=_plugins(root.table("plugins")),
            security=_security(root.table("security")),
            monitoring=_monitoring(root.table("monitoring")),
            limits=_limits(root.table("limits")),
            lifecycle=_lifecycle(root.table("lifecycle")),
            isolation=_isolation(root.table("isolation")),
            services=_services(root.table("services")),
            sandboxing=read_sandboxing(sandboxing_table),
            plugin_tables=_plugin_tables(root.table("plugin")),
        )
        root.refuse_unknown()
        if config.sandboxing.enabled and config.isolation.mode is Isolation.IN_PROCESS:
            raise sandboxing_table.error(
                "enabled",
                "plugins run in the host's process, where nothing confines them",
                'set mode = "process" in section [isolation]; single plugins may run in the '
                "host's process by [isolation.plugin]",
            )
        return config

    def configuration_for(self, name: str) -> dict[str, Any]:
        """Return a copy of the plugin's ``[plugin."name"]`` table, empty when there is none.

        The values are those that JSON and MessagePack can carry, nested at most 16 deep.
        """
        return copy.deepcopy(dict(self.plugin_tables.get(name, {})))


def _open_at_once(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(
                    f"{path} is not a regular file",
                    hint="give the path of a pluginapi.toml",
                    file=str(path),
                )
            data = file.read(_MAX_CONFIG_BYTES + 1)
    except FileNotFoundError as err:
        raise ConfigError(
            f"there is no configuration file {path}",
            code="config.not_found",
            hint="give the path of a pluginapi.toml; examples/pluginapi.toml shows every key",
            file=str(path),
        ) from err
    except OSError as err:
        raise IoError(
            f"the configuration file {path} cannot be read: {err.strerror}",
            hint="give the path of a file that this user may read",
            file=str(path),
        ) from err
    if len(data) > _MAX_CONFIG_BYTES:
        raise ConfigError(
            f"{path.name}:1: the file is larger than {_MAX_CONFIG_BYTES} bytes",
            hint="move the data of plugins into files of their own",
            file=str(path),
            line=1,
        )
    return data


def _plugins(table: Table) -> PluginsConfig:
    default = PluginsConfig()
    config = PluginsConfig(
        directory=table.path("directory", str(default.directory)),
        auto_load=table.boolean("auto_load", default.auto_load),
        scan_on_start=table.boolean("scan_on_start", default.scan_on_start),
        load=table.texts("load"),
    )
    for number, name in enumerate(config.load):
        try:
            check_name(name)
        except InvalidManifest as err:
            raise table.item_error("load", number, err.message, err.hint or "") from err
        if name in config.load[:number]:
            raise table.item_error("load", number, f"{name!r} is named twice", "name it once")
    if "load" in table and not config.auto_load:
        raise table.error(
            "load",
            "nothing is loaded at start while auto_load is false",
            "set auto_load to true, or remove load",
        )
    if config.auto_load and not config.scan_on_start:
        raise table.error(
            "scan_on_start" if "scan_on_start" in table else "auto_load",
            "auto_load finds no plugins while scan_on_start is false",
            "set scan_on_start to true, or auto_load to false",
        )
    table.refuse_unknown()
    return config


def _security(table: Table) -> SecurityConfig:
    default = SecurityConfig()
    config = SecurityConfig(
        only_trusted=table.boolean("only_trusted", default.only_trusted),
        trust_list_path=table.path("trust_list_path", str(default.trust_list_path)),
        trust_key_source=_trust_key_source(table, default.trust_key_source),
        state_dir=table.optional_path("state_dir"),
        pinned_keys=_pinned_keys(table),
        max_plugin_bytes=table.size(
            "max_plugin_bytes", default.max_plugin_bytes, 1, _MAX_FILE_BYTES
        ),
    )
    if config.only_trusted and config.trust_key_source.kind == "none":
        raise table.error(
            "trust_key_source",
            "nothing could be loaded: only_trusted demands a trust list, and none is opened",
            "say where the key of the trust list is, or set only_trusted to false",
        )
    table.refuse_unknown()
    return config


def _trust_key_source(table: Table, default: TrustKeySource) -> TrustKeySource:
    key = "trust_key_source"
    form: Literal["passphrase", "raw"] = (
        "raw"
        if table.choice("trust_key_form", "passphrase", ("passphrase", "raw")) == "raw"
        else "passphrase"
    )
    kind, _, rest = table.text(key, str(default), secret=True).partition(":")
    hint = (
        'write "env:NAME" for an environment variable, "file:PATH" for a file, or "none"; '
        "the key itself never stands in this file"
    )
    # The messages do not repeat the value: somebody may have written the passphrase there.
    if kind == "env":
        if not _ENVIRONMENT_NAME.fullmatch(rest):
            raise table.error(
                key, "what follows 'env:' is not the name of an environment variable", hint
            )
        return TrustKeySource("env", variable=rest, form=form)
    if kind == "file":
        complaint = path_complaint(rest)
        if complaint is not None:
            raise table.error(key, complaint, hint)
        return TrustKeySource("file", path=table.base / rest, form=form)
    if kind == "none" and not rest:
        if "trust_key_form" in table:
            raise table.error(
                "trust_key_form",
                "there is no trust key while trust_key_source is none",
                "remove it",
            )
        return TrustKeySource("none")
    raise table.error(key, "the value does not say where the key comes from", hint)


def _pinned_keys(table: Table) -> tuple[str | Path, ...]:
    keys: list[str | Path] = []
    for number, text in enumerate(table.texts("pinned_keys")):
        key: str | Path
        if _HEX_KEY.fullmatch(text):
            key = text.lower()
        elif text.endswith((".pem", ".pub")) and path_complaint(text) is None:
            key = table.base / text
        else:
            raise table.item_error(
                "pinned_keys",
                number,
                "neither 64 hexadecimal digits nor the path of a .pem or .pub file",
                "write the public key as `pluginapi keygen` prints it, or the path of its PEM file",
            )
        if key in keys:
            raise table.item_error("pinned_keys", number, "the key is pinned twice", "name it once")
        keys.append(key)
    return tuple(keys)


def _monitoring(table: Table) -> MonitoringConfig:
    default = MonitoringConfig()
    config = MonitoringConfig(
        enabled=table.boolean("enabled", default.enabled),
        check_interval_secs=table.seconds(
            "check_interval_secs", default.check_interval_secs, 0.05, _HOUR
        ),
        auto_unmount=table.boolean("auto_unmount", default.auto_unmount),
        violation_threshold=table.integer(
            "violation_threshold", default.violation_threshold, 1, _MAX_THRESHOLD
        ),
        violation_window_secs=table.optional_seconds("violation_window_secs", 0.05, 24 * _HOUR),
        log_violations=table.boolean("log_violations", default.log_violations),
        quarantine_secs=table.seconds("quarantine_secs", default.quarantine_secs, 0.0, 24 * _HOUR),
        quarantine_most_secs=table.seconds(
            "quarantine_most_secs", default.quarantine_most_secs, 0.0, 24 * _HOUR
        ),
        security_log=table.optional_path("security_log"),
        security_log_bytes=table.size(
            "security_log_bytes", default.security_log_bytes, 4096, 1 << 40
        ),
        security_log_files=table.integer("security_log_files", default.security_log_files, 0, 999),
        control_socket=table.optional_path("control_socket"),
    )
    table.refuse_unknown()
    return config


def _limits(table: Table) -> LimitsConfig:
    ceiling_table = table.table("ceiling")
    ceiling = ResourceLimits(**_limit_values(ceiling_table, LimitsConfig.DEFAULT_CEILING.to_dict()))
    default_table = table.table("default")
    default = ResourceLimits(**_limit_values(default_table, ResourceLimits().to_dict()))
    for name, value in default.to_dict().items():
        most = getattr(ceiling, name)
        if name in default_table and value > most:
            raise default_table.error(
                name,
                f"{value} is above the ceiling of {most}",
                f"write at most {most}, or raise {name} in [limits.ceiling]",
            )
    overrides_table = table.table("plugin")
    overrides: dict[str, Mapping[str, int]] = {}
    for name in overrides_table.names():
        _check_plugin_name(overrides_table, name)
        override = overrides_table.table(name)
        values = _limit_values(override, {})
        overrides[name] = MappingProxyType(values)
    table.refuse_unknown()
    return LimitsConfig(
        default=default.capped_by(ceiling), ceiling=ceiling, overrides=MappingProxyType(overrides)
    )


def _limit_values(table: Table, defaults: Mapping[str, int]) -> dict[str, int]:
    """Read the fields of `ResourceLimits`; those neither written nor in `defaults` are left out."""
    values = {}
    for name, (low, high) in ResourceLimits.BOUNDS.items():
        read = table.size if high == MAX_HEAP_BYTES else table.integer
        value = read(name, defaults.get(name, high), low, high)
        if name in table or name in defaults:
            values[name] = value
    table.refuse_unknown()
    return values


def _lifecycle(table: Table) -> LifecycleConfig:
    default = LifecycleConfig()
    config = LifecycleConfig(
        init_timeout_secs=table.seconds(
            "init_timeout_secs", default.init_timeout_secs, 0.01, _HOUR
        ),
        shutdown_timeout_secs=table.seconds(
            "shutdown_timeout_secs", default.shutdown_timeout_secs, 0.01, _HOUR
        ),
    )
    table.refuse_unknown()
    return config


def _isolation(table: Table) -> IsolationConfig:
    default = ProcessSettings()
    modes = tuple(item.value for item in Isolation)
    mode = Isolation(table.choice("mode", Isolation.IN_PROCESS.value, modes))
    plugins_table = table.table("plugin")
    plugins: dict[str, Isolation] = {}
    for name in plugins_table.names():
        _check_plugin_name(plugins_table, name)
        plugins[name] = Isolation(plugins_table.choice(name, mode.value, modes))
    processes = ProcessSettings(
        call_timeout=table.seconds("call_timeout_secs", default.call_timeout, 0.001, _HOUR),
        start_timeout=table.seconds("start_timeout_secs", default.start_timeout, 0.01, _HOUR),
        stop_grace=table.seconds("stop_grace_secs", default.stop_grace, 0.0, _HOUR),
        terminate_grace=table.seconds("terminate_grace_secs", default.terminate_grace, 0.0, _HOUR),
        hang_grace=table.seconds("hang_grace_secs", default.hang_grace, 0.0, _HOUR),
        health_interval=table.seconds(
            "health_interval_secs", default.health_interval, 0.0, 24 * _HOUR
        ),
        backoff_first=table.seconds("backoff_first_secs", default.backoff_first, 0.001, _HOUR),
        backoff_most=table.seconds("backoff_most_secs", default.backoff_most, 0.001, 24 * _HOUR),
        restarts=table.integer("restarts", default.restarts, 0, 1_000_000),
        restart_window=table.seconds(
            "restart_window_secs", default.restart_window, 0.1, 31 * 24 * _HOUR
        ),
        spares=table.integer("spares", default.spares, 0, 256),
        output_bytes_per_second=table.integer(
            "output_bytes_per_second", default.output_bytes_per_second, 0, 1 << 30
        ),
    )
    table.refuse_unknown()
    return IsolationConfig(mode=mode, plugins=MappingProxyType(plugins), processes=processes)


def _services(table: Table) -> ServicesConfig:
    plugins_table = table.table("plugin")
    plugins: dict[str, tuple[str, ...]] = {}
    for name in plugins_table.names():
        _check_plugin_name(plugins_table, name)
        granted = plugins_table.texts(name)
        for number, method in enumerate(granted):
            if not is_service_method(method):
                raise plugins_table.item_error(
                    name,
                    number,
                    f"{method[:80]!r} does not name one method of a service",
                    'write "database.fetch"; every method is granted by its name',
                )
            if method in granted[:number]:
                raise plugins_table.item_error(
                    name, number, f"{method!r} is granted twice", "name it once"
                )
        plugins[name] = granted
    table.refuse_unknown()
    return ServicesConfig(plugins=MappingProxyType(plugins))


def _plugin_tables(table: Table) -> Mapping[str, Mapping[str, Any]]:
    tables = {}
    for name in table.names():
        _check_plugin_name(table, name)
        tables[name] = MappingProxyType(table.plain_values(name))
    return MappingProxyType(tables)


def _check_plugin_name(table: Table, name: str) -> None:
    try:
        check_name(name)
    except InvalidManifest as err:
        raise table.error(name, err.message, err.hint or "") from err
