"""The manifest in Python source: what is read, and what is refused with its place."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import SOURCE, pyz, source
from pluginapi.errors import InvalidManifest, PluginError
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginDependency, PluginKind, PluginManifest
from pluginapi.metadata.native_blob import encode_native_blob, read_native_blob
from pluginapi.metadata.parsing import compile_python, parse_python
from pluginapi.metadata.python_source import MAX_SOURCE_BYTES, read_python_source
from pluginapi.metadata.python_zip import read_archive
from pluginapi.requirements import (
    FilesystemRequirement,
    NetworkRequirement,
    NetworkTarget,
    PluginRequirements,
)
from pluginapi.version import PluginVersion

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(text: str | bytes) -> PluginManifest:
    return read_python_source(text.encode() if isinstance(text, str) else text, "guard.py")


def refused(text: str | bytes) -> InvalidManifest:
    with pytest.raises(InvalidManifest) as caught:
        read(text)
    assert caught.value.hint
    assert "guard.py" in str(caught.value)
    return caught.value


def argument(text: str) -> InvalidManifest:
    """Refuse a description; the place in the message must be that of the value."""
    err = refused(
        "from pluginapi import *\n\n@make_plugin(name='a', version='1.0.0', author='A',\n"
        f" description={text})\nclass A: pass\n"
    )
    assert err.details["line"] == 4
    assert str(err).startswith("guard.py:4:")
    return err


def test_reads_every_field() -> None:
    manifest = read('''
"""A plugin."""
import os
from pluginapi import (
    FilesystemRequirement, NetworkRequirement, NetworkTarget, PluginDependency, PluginRequirements,
    ResourceLimits, make_plugin,
)

os.abort()

@make_plugin(
    name="acme.guard",
    version="1.2.3",
    author="Ac" "me",
    description="One.\\n"
                + "Two.",
    resource_limits=ResourceLimits(max_heap_bytes=2 * 1024 ** 2, max_threads=9 // 2 + 1 - -1),
    requirements=PluginRequirements(
        network=NetworkRequirement.restricted(
            NetworkTarget.domain("API.example.com", port=443),
            NetworkTarget.ip("192.0.2.7", 80),
            NetworkTarget.cidr("192.0.2.0/24"),
        ),
        filesystem=FilesystemRequirement.read_write("/data", "/tmp"),
        context_read=("Logger",),
        context_write=["Configuration"],
    ),
    dependencies={"acme.base": ">=1,<2", "acme.more": {"version_range": "", "optional": True}},
)
class Guard(object):
    os.abort()
''')
    assert manifest == PluginManifest(
        name="acme.guard",
        version=PluginVersion(1, 2, 3),
        author="Acme",
        kind=PluginKind.PYTHON,
        description="One.\nTwo.",
        resource_limits=ResourceLimits(max_heap_bytes=2 << 20, max_threads=6),
        requirements=PluginRequirements(
            network=NetworkRequirement.restricted(
                NetworkTarget("api.example.com", 443),
                NetworkTarget("192.0.2.7", 80),
                NetworkTarget("192.0.2.0/24"),
            ),
            filesystem=FilesystemRequirement.read_write("/data", "/tmp"),
            context_read=("Logger",),
            context_write=("Configuration",),
        ),
        dependencies=(
            PluginDependency("acme.base", ">=1,<2"),
            PluginDependency("acme.more", optional=True),
        ),
        entry="Guard",
    )


@pytest.mark.parametrize(
    ("imports", "decorator"),
    [
        ("from pluginapi import make_plugin", "make_plugin"),
        ("from pluginapi import make_plugin as mp", "mp"),
        ("from pluginapi import *", "make_plugin"),
        ("from pluginapi.plugin import make_plugin", "make_plugin"),
        ("import pluginapi", "pluginapi.make_plugin"),
        ("import pluginapi as p", "p.make_plugin"),
        ("import pluginapi.plugin", "pluginapi.plugin.make_plugin"),
        ("import pluginapi.plugin as pp", "pp.make_plugin"),
        ("from pluginapi import plugin", "plugin.make_plugin"),
        ("from other import make_plugin\nfrom pluginapi import make_plugin", "make_plugin"),
    ],
)
def test_names_are_those_that_the_imports_bind(imports: str, decorator: str) -> None:
    text = f"{imports}\n@{decorator}(name='a', version='1.0.0', author='A')\nclass A: pass\n"
    assert read(text).name == "a"
    assert read("\ufeff" + text).name == "a"
    assert read("# -*- coding: utf-8 -*-\n" + text.replace("\n", "\r\n")).name == "a"


@pytest.mark.parametrize(
    ("imports", "decorator"),
    [
        ("", "make_plugin"),
        ("from other import make_plugin", "make_plugin"),
        ("from .pluginapi import make_plugin", "make_plugin"),
        ("from pluginapi import make_plugin\nfrom other import make_plugin", "make_plugin"),
        ("import pluginapi\nimport other as pluginapi", "pluginapi.make_plugin"),
        ("from pluginapi import Plugin as make_plugin", "make_plugin"),
        ("from pluginapi.evil import make_plugin", "make_plugin"),
        ("from pluginapix import make_plugin", "make_plugin"),
        ("from other import *", "make_plugin"),
        ("if True:\n    from pluginapi import make_plugin", "make_plugin"),
        ("from pluginapi import make_plugin", "make_plugin.other"),
        ("from pluginapi import make_plugin", "get().make_plugin"),
    ],
)
def test_other_names_do_not_count(imports: str, decorator: str) -> None:
    text = f"{imports}\n@{decorator}(name='a', version='1.0.0', author='A')\nclass A: pass\n"
    assert refused(text).code == "manifest.missing"


def test_other_decorators_and_other_classes_may_stand_beside() -> None:
    text = SOURCE.replace("@make", "@first\n@second(1)\n@make") + "\n@first\nclass B: pass\n"
    assert read(text).entry == "Guard"


@pytest.mark.parametrize(
    "text",
    [
        SOURCE.replace("@make_plugin", "if 1:\n @make_plugin").replace("class", " class"),
        SOURCE.replace("@make_plugin", "def f():\n @make_plugin").replace("class", " class"),
        SOURCE.replace("@make_plugin", "class O:\n @make_plugin").replace("class G", " class G"),
        SOURCE + "class B: pass\nB = make_plugin(name='b', version='1.0.0', author='B')(B)\n",
        SOURCE + "if 1:\n @make_plugin\n class B: pass\n",
        SOURCE + "@make_plugin(name='b', version='1.0.0', author='B')\ndef f(): pass\n",
        SOURCE.replace("class Guard:", "class Guard(make_plugin()(int)):"),
    ],
)
def test_only_a_class_of_the_top_level_counts(text: str) -> None:
    assert refused(text).code == "manifest.not_top_level"


def test_one_class_only() -> None:
    assert refused(SOURCE + SOURCE).code == "manifest.ambiguous"
    line = SOURCE.splitlines()[3]
    assert refused(SOURCE.replace(line, f"{line}\n{line}")).code == "manifest.ambiguous"
    assert refused("").code == "manifest.missing"
    assert refused("x = 1\n").code == "manifest.missing"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("make_plugin", "without arguments"),
        ("make_plugin()", "name is missing"),
        ("make_plugin('a')", "keyword arguments only"),
        ("make_plugin(*a)", "keyword arguments only"),
        ("make_plugin(**a)", "not a literal"),
        ("make_plugin(name='a', version='1.0.0')", "author is missing"),
        ("make_plugin(name='a', version='1.0.0', author='A', colour=1)", "no argument 'colour'"),
    ],
)
def test_arguments_of_the_decorator(call: str, words: str) -> None:
    assert words in str(refused(f"from pluginapi import *\n@{call}\nclass A: pass\n"))


def test_repeated_arguments() -> None:
    assert "given twice" in str(refused(source(arguments=", name='b'")))
    assert "given twice" in str(argument("ResourceLimits(max_threads=1, max_threads=2)"))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "__import__('os')",
        "open('/etc/passwd').read()",
        "eval('1')",
        "NAME",
        "__file__",
        "f'{1}'",
        "f'plain'",
        "'%s' % 1",
        "'a' * 1000000000",
        "'a' * 2",
        "1000000000 * 'a'",
        "['a'] * 9",
        "'a'.join(['b'])",
        "'a'['b']",
        "[x for x in 'a']",
        "{**a}",
        "[*a]",
        "{1, 2}",
        "lambda: 1",
        "(yield)",
        "(x := 1)",
        "1 if 1 else 2",
        "not 1",
        "-'a'",
        "-True",
        "True + 1",
        "1 / 2",
        "1 % 2",
        "1 << 2",
        "1 // 0",
        "2 ** -1",
        "2 ** 65",
        "10 ** 10 ** 10",
        "1.5",
        "1j",
        "b'a'",
        "...",
        "ResourceLimits.BOUNDS",
        "ResourceLimits().capped_by(ResourceLimits())",
        "NetworkRequirement.restricted(*a)",
        "ResourceLimits(**a)",
        "make_plugin",
        "NetworkTarget.__init__",
    ],
)
def test_what_is_not_literal(text: str) -> None:
    assert argument(text).code == "manifest.not_literal"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2 ** 64 * 2 ** 64", "manifest.too_large"),
        ("(2 ** 40) ** 40", "manifest.too_large"),
        ("0x" + "f" * 17, "manifest.too_large"),
        ("9" * 5000, "manifest.syntax"),
        ("'a' 'b' + '" + "c" * 65536 + "'", "manifest.too_large"),
        ("'" + "c" * 65536 + "' + 'c'", "manifest.too_large"),
        ("'a'" + " + 'a'" * 100, "manifest.too_deep"),
        ("[" * 80 + "]" * 80, "manifest.too_deep"),
        ("[" + "1," * 10_001 + "]", "manifest.too_large"),
        ("{1: 2}", "manifest.field"),
        ("{'a': 1, 'a': 2}", "manifest.field"),
        ("ResourceLimits(max_threads=0)", "limits.invalid"),
        ("ResourceLimits(5)", "manifest.field"),
        ("ResourceLimits(tea=5)", "manifest.field"),
        ("NetworkTarget.domain(5)", "manifest.requirement"),
        ("NetworkTarget.domain('!')", "manifest.requirement"),
        ("PluginVersion.parse('1')", "manifest.version"),
        ("NetworkRequirement(NetworkAccess.RESTRICTED)", "manifest.requirement"),
    ],
)
def test_literals_are_bounded(text: str, code: str) -> None:
    assert argument(text).code == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (", resource_limits=5", "manifest.field"),
        (", requirements={}", "manifest.field"),
        (", description=5", "manifest.invalid"),
        (", dependencies='acme.base'", "manifest.field"),
        (", dependencies=['acme.base']", "manifest.field"),
        (", dependencies=[PluginDependency('b', '>=1', 5)]", "manifest.field"),
        (", dependencies=5", "manifest.field"),
        (
            ", requirements=PluginRequirements(network=NetworkRequirement('x'))",
            "manifest.requirement",
        ),
        (
            ", requirements=PluginRequirements(filesystem=FilesystemRequirement('x', ('/',)))",
            "manifest.requirement",
        ),
        (", requirements=PluginRequirements(network=None)", "manifest.requirement"),
    ],
)
def test_types_of_the_fields(arguments: str, code: str) -> None:
    err = refused(source(head="from pluginapi import *\n", arguments=arguments))
    assert err.code == code
    assert str(err).startswith("guard.py:")


def test_values_that_are_allowed_besides() -> None:
    text = source(
        head="from pluginapi import *\n",
        arguments=", description=None, requirements=PluginRequirements("
        "network=NetworkRequirement(NetworkAccess.FULL)), "
        "dependencies=(PluginDependency('acme.base', '>=1', optional=True),)",
    ).replace('"1.2.3"', "PluginVersion(+1, 2, 3)")
    manifest = read(text)
    assert manifest.requirements.network == NetworkRequirement.full()
    assert manifest.dependencies == (PluginDependency("acme.base", ">=1", optional=True),)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"x = '" + b"a" * 10_000_000 + b"'", "manifest.too_large"),
        (SOURCE.encode() + b"#" * MAX_SOURCE_BYTES, "manifest.too_large"),
        (SOURCE.encode("utf-16"), "manifest.syntax"),
        (b"# coding: latin-1\n" + SOURCE.encode(), "manifest.syntax"),
        (b"# coding: utf-7\n" + SOURCE.encode(), "manifest.syntax"),
        (b"# coding: nonsense\n" + SOURCE.encode(), "manifest.syntax"),
        (SOURCE.encode() + b"# \xff", "manifest.syntax"),
        (SOURCE.encode() + b"\0", "manifest.syntax"),
        (SOURCE.encode() + b"x = = 1", "manifest.syntax"),
        (SOURCE.encode()[:70], "manifest.syntax"),
    ],
)
def test_source_that_cannot_be_read(data: bytes, code: str) -> None:
    assert refused(data).code == code


HOSTILE = {
    "brackets": "x = " + "(" * 5000 + ")" * 5000,
    "brackets in the middle": "x = " + "[" * 150 + "]" * 150,
    "minus": "x = " + "-" * 500_000 + "1",
    "not": "x = " + "not " * 200_000 + "1",
    "lambda": "x = " + "lambda:" * 100_000 + "1",
    "indentation": "".join(" " * level + "if 1:\n" for level in range(200)),
}

HOSTILE_TO_THE_PARSER = {
    "sum": "x = 1" + "+1" * 300_000,
    "power": "x = 2" + "**2" * 200_000,
    "attributes": "x = a" + ".a" * 300_000,
    "calls": "x = a" + "()" * 300_000,
    "conditional": "x = " + "1 if 1 else " * 50_000 + "1",
    "lambda with argument": "x = " + "lambda a: " * 80_000 + "1",
    "elif": "if 1: pass\n" + "elif 1: pass\n" * 50_000,
    "await": "x = " + "await a or " * 50_000 + "1",
    "comparison": "x = 1" + "<1" * 200_000,
    "assignment": "x = " * 200_000 + "1",
    "f-string": "x = f'" + "{f" * 200 + "'" + "}" * 200,
    "decorators": "@a\n" * 200_000 + "def f(): pass\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_deep_nesting_is_refused_before_the_parser_sees_it(name: str) -> None:
    err = refused(SOURCE + HOSTILE[name])
    assert err.code == "manifest.too_deep" or (name, err.code) == ("indentation", "manifest.syntax")


@pytest.mark.parametrize("name", HOSTILE_TO_THE_PARSER)
def test_what_only_the_parser_sees_is_read_or_refused(name: str) -> None:
    text = SOURCE + HOSTILE_TO_THE_PARSER[name]
    try:
        manifest = read(text)
    except InvalidManifest as err:
        assert err.code in {"manifest.too_deep", "manifest.syntax"}  # noqa: PT017 - either
    else:
        assert manifest.name == "acme.guard"


def test_the_place_of_deep_nesting() -> None:
    err = refused(f"a = 1\nb = {'(' * 101}")
    assert (err.details["line"], err.details["column"]) == (2, 105)


@pytest.mark.parametrize(
    "text",
    [
        "'" + "(" * 500 + "'",
        '"' + '\\"' + "(" * 500 + '"',
        "'''" + "(\n" * 500 + "'''",
        '"""' + '("\n' * 500 + '"""',
        "0  # :" + "(" * 500,
        "[" + "-1, " * 5000 + "]",
        "f'{1}' f\"{2}\"",
        "1 - -1",
        "[(1), (2)]" * 1 + "".join(f"\ny{i} = [({i})]" for i in range(300)),
    ],
)
def test_brackets_that_do_not_nest(text: str) -> None:
    assert read(f"{SOURCE}x = {text}\n").name == "acme.guard"


def test_unterminated_strings_take_linear_time() -> None:
    for quote in ("'", '"', "'''", '"""'):
        text = SOURCE + "x = " + f"{quote}\\" * 200_000
        assert refused(text).code in {"manifest.syntax", "manifest.too_deep"}


def test_warnings_of_the_compiler_are_not_the_hosts() -> None:
    text = SOURCE + "x = '\\d'\ny = 1 is 1\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(text).name == "acme.guard"
        compile_python(text, "<plugin acme.guard>/guard.py")
        with pytest.raises(SyntaxError):
            compile(text, "host.py", "exec")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        parse_python(text, "guard.py")
    assert seen == []


def test_compile_errors_have_a_place() -> None:
    with pytest.raises(InvalidManifest, match=r"guard.py:1:1: not Python .*return"):
        compile_python("return 1", "guard.py")


def test_newer_syntax_is_named_with_the_version() -> None:
    err = refused(SOURCE + "match x:\n    else: pass\n")
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in str(err)


def test_value_errors_of_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("odd")

    monkeypatch.setattr("pluginapi.metadata.parsing.ast.parse", fail)
    assert refused(SOURCE).code == "manifest.syntax"


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(data: bytes, after: bool) -> None:
    try:
        manifest = read(SOURCE.encode() + data if after else data)
    except PluginError as err:
        assert err.hint  # noqa: PT017 - a value or a refusal
    else:
        assert manifest.name == "acme.guard"


@given(st.text(alphabet="()[]{}'\"\\#\n +-*.,:=ab1f", max_size=200))
def test_any_expression(text: str) -> None:
    try:
        manifest = read(source(arguments=f", description={text}"))
    except PluginError as err:
        assert err.hint  # noqa: PT017 - a value or a refusal
    else:
        assert manifest.name == "acme.guard"


names = st.from_regex(r"[a-z][a-z0-9]{0,8}([._-][a-z0-9]{1,8}){0,3}", fullmatch=True)
versions = st.tuples(*[st.integers(0, 2**32 - 1)] * 3).map(lambda t: ".".join(map(str, t)))
printable = st.text(min_size=1, max_size=200).filter(lambda text: text.isprintable())
limits: st.SearchStrategy[Mapping[str, int]] = st.fixed_dictionaries(
    {}, optional={key: st.integers(*bounds) for key, bounds in ResourceLimits.BOUNDS.items()}
)


@given(
    name=names,
    version=versions,
    author=printable,
    description=st.none() | printable,
    limit=limits,
    paths=st.lists(names.map(lambda text: f"/{text}"), max_size=3),
    keys=st.lists(printable, max_size=3),
    dependencies=st.dictionaries(names, st.sampled_from(["", ">=1", ">=1,<2"]), max_size=3),
)
def test_round_trip_of_generated_manifests(
    *,
    name: str,
    version: str,
    author: str,
    description: str | None,
    limit: Mapping[str, int],
    paths: list[str],
    keys: list[str],
    dependencies: dict[str, str],
) -> None:
    dependencies.pop(name, None)
    access = "read_only" if paths else "none"
    files = f"FilesystemRequirement.{access}({', '.join(map(repr, paths))})"
    arguments = ", ".join(f"{key}={value}" for key, value in limit.items())
    text = (
        "from pluginapi import *\n"
        f"@make_plugin(name={name!r}, version={version!r}, author={author!r},\n"
        f" description={description!r}, resource_limits=ResourceLimits({arguments}),\n"
        f" requirements=PluginRequirements(filesystem={files}, context_read={keys!r},\n"
        " services=['database.fetch']),\n"
        f" dependencies={dependencies!r})\nclass A: pass\n"
    )
    single = read(text)
    archive = read_archive(pyz({"a/__init__.py": text}), "a.pyz")
    zipped = read_python_source(archive.entry.source, "a", kind=PluginKind.PYTHON_ZIP)
    blob = encode_native_blob(
        {
            "name": name,
            "version": version,
            "author": author,
            "description": description,
            "resource_limits": dict(limit),
            "requirements": {
                "filesystem": {"access": access, "allowed_paths": paths},
                "context_read": keys,
                "services": ["database.fetch"],
            },
            "dependencies": dependencies,
        }
    )
    dicts = [item.to_dict() for item in (single, zipped, read_native_blob(blob))]
    for item in dicts:
        for key in ("kind", "abi", "entry"):
            del item[key]
    assert dicts[0] == dicts[1] == dicts[2]
    assert (single.author, single.description) == (author, description)
    assert [item.name for item in single.dependencies] == list(dependencies)
