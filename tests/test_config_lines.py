"""The line locator agrees with tomllib on what is there, and with the writer on where it is."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.config_lines import TomlPath, key_lines


def paths_of(value: Any, path: TomlPath = ()) -> set[TomlPath]:
    found: set[TomlPath] = {path} if path else set()
    if isinstance(value, dict):
        for key, item in value.items():
            found |= paths_of(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found |= paths_of(item, (*path, number))
    return found


class Writer:
    """Write a random document and remember on which line every path began."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[TomlPath, int] = {}

    def note(self, path: TomlPath) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def write(self, text: str) -> None:
        self.text += text

    def filler(self) -> None:
        self.write(
            self.draw(st.sampled_from(["", "", "\n", "  \n\t\n", "# [not.a.table]\n", "#'''\n\n"]))
        )

    def between(self) -> None:
        self.write(
            self.draw(st.sampled_from(["", " ", "\n", " # a ] } \" '''\n", "\t\n\n", "#\n  #,\n"]))
        )

    def key(self, key: str) -> None:
        forms = [f"'{key}'"] if "'" not in key and "\n" not in key else []
        if key and all(char.isascii() and (char.isalnum() or char in "-_") for char in key):
            forms.append(key)
        escaped = "".join(f"\\u{ord(char):04x}" for char in key)
        self.write(self.draw(st.sampled_from([*forms, f'"{escaped}"'])))

    def dotted(self, keys: list[str]) -> None:
        for number, key in enumerate(keys):
            if number:
                self.write(self.draw(st.sampled_from([".", " . ", "\t."])))
            self.key(key)

    def pair(self, table: TomlPath, keys: list[str], depth: int) -> None:
        path = table
        for key in keys:
            path = (*path, key)
            self.note(path)
        self.dotted(keys)
        self.write(self.draw(st.sampled_from(["=", " = ", "\t=  "])))
        self.value(path, depth)

    def value(self, path: TomlPath, depth: int) -> None:
        kind = self.draw(
            st.sampled_from(["scalar", "scalar", "array", "inline"] if depth else ["scalar"])
        )
        if kind == "scalar":
            self.write(self.draw(st.sampled_from(SCALARS)))
        elif kind == "array":
            self.array(path, depth - 1)
        else:
            self.inline_table(path, depth - 1)

    def array(self, path: TomlPath, depth: int) -> None:
        self.write("[")
        count = self.draw(st.integers(0, 3))
        for number in range(count):
            self.between()
            self.note((*path, number))
            self.value((*path, number), depth)
            self.between()
            if number < count - 1 or self.draw(st.booleans()):
                self.write(",")
        self.between()
        self.write("]")

    def inline_table(self, path: TomlPath, depth: int) -> None:
        self.write("{ ")
        for number, key in enumerate(self.draw(st.lists(KEYS, max_size=3, unique=True))):
            self.write(", " if number else "")
            self.pair(path, [key], depth)
        self.write(" }")

    def body(self, table: TomlPath) -> None:
        for key in self.draw(st.lists(KEYS, max_size=4, unique=True)):
            self.filler()
            more = self.draw(st.lists(KEYS, max_size=2))
            self.pair(table, [key, *more], depth=2)
            self.write(self.draw(st.sampled_from(["\n", " # x = 1\n", "  \n", "\r\n"])))

    def document(self) -> None:
        self.filler()
        self.body(())
        # The prefix keeps tables apart from the pairs above them: redefinition is not valid TOML.
        for number in range(self.draw(st.integers(0, 3))):
            header = [f"table-{number}", *self.draw(st.lists(KEYS, max_size=2))]
            repeats = self.draw(st.integers(0, 3))
            for repeat in range(max(repeats, 1)):
                self.filler()
                path: TomlPath = tuple(header)
                for end in range(1, len(header) + 1):
                    self.note(path[:end])
                if repeats:
                    path = (*path, repeat)
                    self.note(path)
                self.write("[[" if repeats else "[ ")
                self.dotted(header)
                self.write(" ]]\n" if repeats else "] # [x]\n")
                self.body(path)
                if repeats and self.draw(st.booleans()):
                    self.note((*path, "table-below"))
                    self.write("[")
                    self.dotted([*header, "table-below"])
                    self.write("]\n")
                    self.body((*path, "table-below"))


KEYS = st.one_of(
    st.sampled_from(
        ["a", "b-1", "1234", "true", "acme.filter", "", "#", "]", "a = 'b'", '"', "ä", "'"]
    ),
    st.text("ab.\"'#[]{}=,\t ", max_size=4),
)
SCALARS = [
    "1",
    "-1_000",
    "0xff",
    "1.5e3",
    "inf",
    "true",
    "1979-05-27 07:32:00",
    "1979-05-27T07:32:00Z",
    "07:32:00",
    '""',
    "''",
    '"# [x] \\" , \\\\"',
    "'\\'",
    '""""""',
    "''''''",
    '"""\n\n[a]\nb = 1\n"""',
    '"""two quotes ""then three"""""',
    '""""one quote before\n"""',
    '"""\\"""\\\n  \\\\"""',
    "'''\n# [x]\n''y = 1'''''",
    "'''\\'''",
]


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[TomlPath, int]]:
    writer = Writer(draw)
    writer.document()
    return writer.text, writer.lines


@given(documents())
def test_every_path_has_the_line_it_was_written_on(case: tuple[str, dict[TomlPath, int]]) -> None:
    text, written = case
    assert set(written) == paths_of(tomllib.loads(text))
    assert key_lines(text) == written


@given(st.text("ab\"'=[]{}.,#\n\\ 1", max_size=40))
def test_whatever_tomllib_accepts_is_located_completely(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(key_lines(text)) == paths_of(document)


@given(st.text("ab\"'=[]{}.,#\n\\ 1"))
def test_invalid_documents_end_the_scan(text: str) -> None:
    try:
        lines = key_lines(text)
    except ValueError:
        return
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def test_tables_named_before_they_are_opened_have_the_first_line() -> None:
    text = "[a.b]\nx = 1\n\n[a]\ny = 2\n"
    assert key_lines(text) == {
        ("a",): 1,
        ("a", "b"): 1,
        ("a", "b", "x"): 2,
        ("a", "y"): 5,
    }


def test_arrays_of_tables_count_their_tables() -> None:
    text = "[[a]]\nx = 1\n[[a]]\nx = 2\n[[a.b]]\n[a.b.c]\nz = 3\n"
    assert key_lines(text) == {
        ("a",): 1,
        ("a", 0): 1,
        ("a", 0, "x"): 2,
        ("a", 1): 3,
        ("a", 1, "x"): 4,
        ("a", 1, "b"): 5,
        ("a", 1, "b", 0): 5,
        ("a", 1, "b", 0, "c"): 6,
        ("a", 1, "b", 0, "c", "z"): 7,
    }


def test_an_empty_document_has_no_lines() -> None:
    assert key_lines("") == {}
    assert key_lines("# nothing\n") == {}


@pytest.mark.parametrize("text", ["[a", "a =", "a = [1", "= 1", "a 1", "a = {b = 1", 'a = "x'])
def test_what_is_no_document_is_an_error(text: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(text)
    with pytest.raises(ValueError, match="character"):
        key_lines(text)
