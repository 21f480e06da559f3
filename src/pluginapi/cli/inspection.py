"""`pluginapi inspect`, `explain` and `list`: what plugins are, and why they may or may not load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pluginapi.cli._logging import reported_here
from pluginapi.cli._output import Output, json_option
from pluginapi.cli._security import SecurityOptions, security_options
from pluginapi.errors import InvalidManifest, UnsupportedPlatform
from pluginapi.info import PluginInfo, PluginStatus
from pluginapi.loader import Inspection, PluginLoader
from pluginapi.metadata import read_manifest
from pluginapi.network_target import NetworkTarget
from pluginapi.plugin_file import PluginFile
from pluginapi.registry import PluginRegistry
from pluginapi.sandbox.network.explaining import explain_connect
from pluginapi.security import Check, CheckOutcome, PluginSignature
from pluginapi.services import ServiceGrants

if TYPE_CHECKING:
    from pluginapi.manifest import PluginManifest

__all__ = ["explain_command", "inspect_command", "list_command"]

_STATUS_STYLES = {PluginStatus.AVAILABLE: "green", PluginStatus.UNTRUSTED: "red"}
_OUTCOME_STYLES = {
    CheckOutcome.OK: "green",
    CheckOutcome.FAILED: "red",
    CheckOutcome.SKIPPED: "dim",
}


@click.command("inspect", epilog="Example: pluginapi inspect plugins/filter.so --json")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def inspect_command(file: Path, as_json: bool) -> None:
    """Show what the plugin FILE says about itself, running nothing of it.

    The signature is shown, not verified: `pluginapi verify` and `pluginapi explain` do that.
    """
    output = Output(as_json=as_json)
    with output.working("reading the plugin"):
        opened = PluginFile.open(file)
        manifest = read_manifest(opened)
    facts: dict[str, Any] = {
        "path": str(opened.path),
        "size": opened.size,
        "sha3_512": opened.sha3_512,
        "signature": None if opened.envelope is None else _signature_facts(opened.envelope),
    }
    output.result({**manifest.to_dict(), **facts})
    _print_manifest(output, manifest)
    output.text(f"size          {opened.size} bytes")
    output.text(f"sha3-512      {opened.sha3_512}")
    signature = facts["signature"]
    if signature is None:
        output.text("signature     none")
    else:
        keys = ", ".join(signature["key_ids"])
        output.text(f"signature     by key {keys} at {signature['signed_at']} (not verified here)")


def _signature_facts(envelope: bytes) -> dict[str, Any]:
    signature = PluginSignature.decode(envelope)
    statement = signature.statement
    return {
        "key_ids": list(signature.key_ids),
        "signed_at": statement.signed_at,
        "name": statement.name,
        "version": statement.version,
        "sha3_512": statement.sha3_512,
    }


def _print_manifest(output: Output, manifest: PluginManifest) -> None:
    output.text(f"{manifest.name} {manifest.version}", style="bold")
    output.text(f"author        {manifest.author}")
    if manifest.description:
        output.text(f"description   {manifest.description}")
    abi = "" if manifest.abi is None else f", ABI {manifest.abi[0]}.{manifest.abi[1]}"
    output.text(f"kind          {manifest.kind.value}{abi}")
    limits = manifest.resource_limits
    if limits is None:
        output.text("limits        the host's defaults")
    else:
        for number, (name, value) in enumerate(limits.to_dict().items()):
            output.text(f"{'' if number else 'limits':<14}{name} {value}")
    needs = manifest.requirements
    targets = ", ".join(map(str, needs.network.allowed_targets))
    output.text(f"network       {needs.network.access.value} {targets}".rstrip())
    if needs.network.listen_ports:
        output.text(f"listens on    {', '.join(map(str, needs.network.listen_ports))}")
    paths = ", ".join(needs.filesystem.allowed_paths)
    output.text(f"file system   {needs.filesystem.access.value} {paths}".rstrip())
    output.text(f"context       reads {', '.join(needs.context_read) or 'nothing declared'}")
    output.text(f"              writes {', '.join(needs.context_write) or 'nothing declared'}")
    output.text(f"services      calls {', '.join(needs.services) or 'nothing declared'}")
    output.text(f"depends on    {', '.join(map(str, manifest.dependencies)) or 'nothing'}")


@click.command(
    "explain",
    epilog="Example: pluginapi explain plugins/filter.so --config pluginapi.toml "
    "--connect api.example.com:443",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--connect",
    metavar="HOST:PORT",
    help="Say whether it may connect there, and which grant would let it.",
)
@security_options
@json_option
def explain_command(
    file: Path, connect: str | None, security: SecurityOptions, as_json: bool
) -> int:
    """Say why the plugin FILE is or is not loadable, check by check.

    With --config, also which of the services that it needs the operator has not granted it; and
    with --connect, whether it may connect to a destination, and which line would let it.

    Exit code 0 when it is loadable, and may connect, and 1 when not.
    """
    output = Output(as_json=as_json)
    destination = None if connect is None else _destination(connect, security)
    decides = security.open()
    with output.working("opening the trust list, reading the plugin"):
        inspection = PluginLoader(decides).inspect(file)
    verdict, manifest = inspection.verdict, inspection.manifest
    platform = _platform_check(inspection)
    checks = verdict.checks if platform is None else (platform, *verdict.checks)
    loadable = all(check.outcome is not CheckOutcome.FAILED for check in checks)
    granted = () if security.config is None else security.config.services.for_plugin(manifest.name)
    grants = ServiceGrants.of(manifest.requirements.services, granted)
    connects = None
    if destination is not None and security.config is not None:
        connects = explain_connect(destination, manifest.requirements, security.config.sandboxing)
    output.result(
        {
            **verdict.to_dict(),
            "loadable": loadable,
            "name": manifest.name,
            "checks": [check.to_dict() for check in checks],
            "services": {"granted": list(grants.allowed), "missing": list(grants.missing)},
            "connect": None if connects is None else connects.to_dict(),
        }
    )
    output.text(f"{manifest.name} {manifest.version}  {file}", style="bold")
    width = max(len(check.name) for check in checks)
    for check in checks:
        output.text(
            f"  {check.outcome.value:<8}{check.name:<{width}}  {check.found}",
            style=_OUTCOME_STYLES[check.outcome],
        )
        if check.outcome is CheckOutcome.FAILED:
            output.text(f"  {'':<8}{'code':>{width}}  {check.code}")
            output.text(f"  {'':<8}{'hint':>{width}}  {check.hint}")
    if grants.allowed:
        output.text(f"services granted: {', '.join(grants.allowed)}")
    if grants.missing:
        # No reason not to load: what is missing does not exist for the plugin.
        output.text(f"services not granted: {', '.join(grants.missing)}", style="yellow")
        output.text(f"  hint: {grants.remedy(manifest.name)}")
    if connects is not None:
        may = "may" if connects.allowed else "may not"
        style = "green" if connects.allowed else "red"
        output.text(f"{may} connect to {destination}: {connects.reason}", style=style)
        if connects.remedy:
            output.text(f"  hint: {connects.remedy}")
    if loadable:
        output.text(f"loadable, {verdict.trust_level.name.lower()}", style="bold green")
        return int(connects is not None and not connects.allowed)
    output.text("not loadable", style="bold red")
    return 1


def _destination(text: str, security: SecurityOptions) -> NetworkTarget:
    """Read what --connect names.

    Raises:
        click.UsageError: It names more than one place, or there is no configuration to look into.
    """
    if security.config is None:
        raise click.UsageError("--connect needs --config: the operator's grants are there")
    try:
        destination = NetworkTarget.parse(text)
    except InvalidManifest as err:
        raise click.UsageError(f"--connect {text}: {err.message}; {err.hint}") from err
    spans = destination.addresses
    if destination.port is None or "*" in destination.host or (spans and spans[0] != spans[1]):
        raise click.UsageError("--connect takes one destination, such as api.example.com:443")
    return destination


def _platform_check(inspection: Inspection) -> Check | None:
    """Say whether this process can load the library at all; None for what is not native."""
    library, manifest = inspection.file.library, inspection.manifest
    if library is None:
        return None
    built_for = f"{library.container} for {', '.join(library.machines)}, {library.bits} bit"
    try:
        library.require_loadable(manifest.name)
    except UnsupportedPlatform as err:
        return Check("platform", CheckOutcome.FAILED, err.message, err.code, err.hint)
    return Check("platform", CheckOutcome.OK, built_for)


@click.command("list", epilog="Example: pluginapi list plugins/ --json")
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@security_options
@json_option
def list_command(directory: Path | None, security: SecurityOptions, as_json: bool) -> None:
    """List the plugins of DIRECTORY with their status, running none of them.

    Without DIRECTORY, the one in the configuration file, else `plugins`. Files that are no
    readable plugin are listed with the reason.
    """
    output = Output(as_json=as_json)
    decides = security.open()
    registry = PluginRegistry(PluginLoader(decides))
    with output.working("opening the trust list, scanning"), reported_here("pluginapi.registry"):
        # Once, rather than as the problem of every file.
        decides.initialize()
        report = registry.scan_directory(directory or security.plugin_directory())
    output.result(
        {
            "plugins": [info.to_dict() for info in report.plugins],
            "problems": [
                {"path": str(path), **error.to_dict()} for path, error in report.problems.items()
            ],
        }
    )
    if report.plugins:
        output.table(
            ["NAME", "VERSION", "KIND", "STATUS", "FILE", "REASON"],
            [_row(info) for info in report.plugins],
        )
    for path, error in report.problems.items():
        output.text(f"{path.name}: {error} [{error.code}]", style="red")
        if error.hint:
            output.text(f"  hint: {error.hint}")
    if not report.plugins and not report.problems:
        output.text("no plugins found")


def _row(info: PluginInfo) -> list[str]:
    reason = "" if info.error is None else info.error.code
    return [
        info.name,
        info.version,
        info.manifest.kind.value,
        info.status.value,
        info.path.name,
        reason,
    ]
