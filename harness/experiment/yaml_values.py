"""YAML as settings are written in it: strict, so that nothing means something else than it seems.

The scalars are those of YAML 1.2: `true`, `false`, `null` and decimal numbers, 2e-3 among them. What YAML 1.1 reads in
another way (yes, on, 010, 0x1F, 1_000, 1:30) is an error, and so are keys that are given twice, anchors, aliases, tags
and several documents. One grammar for files and for `key=value` words.
"""

import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UserError

MOST_BYTES = 2**20
"""Larger files are taken for something else than settings."""
DEEPEST = 20
"""Sections in sections in sections: settings need about five levels."""
LARGEST = 2**63 - 1
"""What torch and every file format of results can hold."""

WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# What YAML 1.1 reads as something else than text or than a decimal number, and what to write.
LOOK_ALIKES = (
    (re.compile(r"yes|on", re.IGNORECASE), "write true, or put the word in quotes"),
    (re.compile(r"no|off", re.IGNORECASE), "write false, or put the word in quotes"),
    (re.compile(r"[-+]?0[xob][0-9a-f_]*", re.IGNORECASE), "write a decimal number, or put it in quotes"),
    (re.compile(r"[-+]?0[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"), "write the number without leading zeros"),
    (re.compile(r"[-+]?[0-9][0-9.]*_[0-9_.]*"), "write the number without _"),
    (re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?"), "write a time as 90s or 90m, or put the text in quotes"),
    (re.compile(r"[-+]?\.inf|\.nan", re.IGNORECASE), "a finite number is needed"),
)
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Fault = Callable[[int, str], Exception]


def plain_value(text: str) -> Any:
    """What a scalar without quotes stands for: None, a truth value, a number, or the text itself.

    Raises:
        ValueError: it looks like something else, or is too large; the message begins with it.
    """
    if text in CONSTANTS:
        return CONSTANTS[text]
    shown = text if len(text) <= 40 else f"{text[:37]}..."
    for pattern, advice in LOOK_ALIKES:
        if pattern.fullmatch(text):
            raise ValueError(f"{shown} may be read in several ways: {advice}")
    if WHOLE.fullmatch(text):
        # Python refuses to convert thousands of digits.
        if len(text) > 20 or abs(int(text)) > LARGEST:
            raise ValueError(f"{shown} is too large: whole numbers go up to {LARGEST}")
        return int(text)
    if FRACTION.fullmatch(text):
        if not math.isfinite(float(text)):
            raise ValueError(f"{shown} is too large: numbers go up to 1.8e308")
        return float(text)
    return text


def parse_yaml(text: str, fault: Fault) -> Any:
    """The value that a text in YAML stands for.

    Args:
        text: one document.
        fault: makes the error of a line (1, 2, ...) and what is wrong with it.

    Raises:
        Exception: what `fault` makes.
    """
    try:
        return Builder(fault).build(yaml.parse(text, LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        number = mark.line if mark else 0
        has_tab = "\t" in "".join(text.splitlines()[number : number + 1])
        about_tabs = " (indent with spaces, not with tabs)" if has_tab else ""
        raise fault(number + 1, f"not valid YAML: {error.problem}{about_tabs}") from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        place = getattr(error, "position", None) or getattr(error, "start", 0)
        line = text.count("\n", 0, place) + 1
        raise fault(line, "not valid YAML: it holds a character that is no text") from None


class Builder:
    """Builds a value from the events of a document, one section in another, without recursion.

    Args:
        fault: makes the error of a line and what is wrong with it.
    """

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.open: list[Any] = [[]]
        # Of each section that is open: the lines of its keys, and the key whose value comes next.
        self.lines: list[dict[str, int]] = [{}]
        self.keys: list[str | None] = [None]

    def build(self, events: "Iterator[yaml.Event]") -> Any:
        """The value of the only document; None if there is none."""
        documents = 0
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.fault(line, "a second document begins here: settings are one document")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise self.fault(line, "anchors (&) and aliases (*) are not read: write it out, or put text in quotes")
            tag = getattr(event, "tag", None)
            if tag not in (None, "!"):
                raise self.fault(line, f"tags are not read: leave {tag[:40]} out, or put text in quotes")
            self.take(event, line)
        return self.open[0][0] if self.open[0] else None

    def take(self, event: "yaml.Event", line: int) -> None:
        """One event."""
        if isinstance(event, yaml.ScalarEvent):
            quoted = event.style is not None and event.style != ""
            try:
                self.put(event.value if quoted else plain_value(event.value), event.value, line)
            except ValueError as error:
                if self.expects_key():
                    self.put(event.value, event.value, line)
                else:
                    key = f"{self.keys[-1]}: " if self.keys[-1] else ""
                    raise self.fault(line, f"{key}{error}") from None
        elif isinstance(event, yaml.CollectionStartEvent):
            if self.expects_key():
                raise self.fault(line, "a list or a section cannot be a key")
            if len(self.open) > DEEPEST:
                raise self.fault(line, f"more than {DEEPEST} levels of nesting")
            is_section = isinstance(event, yaml.MappingStartEvent)
            self.open.append({} if is_section else [])
            self.lines.append({})
            self.keys.append(None)
        elif isinstance(event, yaml.CollectionEndEvent):
            value = self.open.pop()
            self.lines.pop()
            self.keys.pop()
            self.put(value, "", line)

    def expects_key(self) -> bool:
        """Whether the next scalar is a key."""
        return isinstance(self.open[-1], dict) and self.keys[-1] is None

    def put(self, value: Any, text: str, line: int) -> None:
        """A scalar, list or section that is complete, into what is open."""
        if not isinstance(self.open[-1], dict):
            self.open[-1].append(value)
        elif self.expects_key():
            if not isinstance(value, str):
                written = text or "''"
                raise self.fault(
                    line, f"{written} is no key: between braces, several values need brackets: {{depth: [2, 4]}}"
                )
            if not value.isprintable():
                raise self.fault(line, f"{value!r} is no key: it holds a character that cannot be printed")
            if value in self.lines[-1]:
                raise self.fault(line, f"'{value}' is given twice, first in line {self.lines[-1][value]}")
            self.lines[-1][value] = line
            self.keys[-1] = value
        else:
            self.open[-1][self.keys[-1]] = value
            self.keys[-1] = None


def read_text(path: Path) -> str:
    """The text of a small regular file.

    Raises:
        UserError: it is missing, unreadable, no regular file, too large, or not in UTF-8.
    """
    try:
        # A FIFO without a writer would be waited for.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise UserError(f"'{path}' is no regular file: copy its content to one and name that")
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"'{path}' does not exist") from None
    except IsADirectoryError:
        raise UserError(f"'{path}' is a folder: name a file in it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"'{path}' cannot be read: {reason}".replace("\x00", "")) from None
    if len(content) > MOST_BYTES:
        raise UserError(f"'{path}' is larger than {MOST_BYTES // 2**20} MiB: this is no file of settings")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"'{path}' line {line} is not UTF-8 text: save the file as UTF-8") from None


class Dumper(yaml.SafeDumper):
    """Writes YAML that `parse_yaml` reads as it was, and so does YAML 1.1."""


# As text, these need quotes; YAML 1.1's own list lacks 2e-3.
for pattern in (WHOLE, FRACTION, *(pattern for pattern, _ in LOOK_ALIKES)):
    Dumper.add_implicit_resolver("!quoted", re.compile(f"^(?:{pattern.pattern})$", pattern.flags), None)


def dump_yaml(value: Any, **options: Any) -> str:
    """Plain data as YAML that `parse_yaml` reads as it was; options as those of `yaml.dump`."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, **options)
