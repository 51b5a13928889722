"""The self-check: its sections one after the other, each stored as soon as it is done."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import harness
import methods
from harness.experiment.recipes import EXPERIMENTS
from harness.machine.environment import Environment, describe
from harness.reference.selfcheck import attention, devices, files, memory, precisions, repeat, times, tracking, vectors
from harness.reference.selfcheck.findings import Asked, Finding, Items, Say, guarded
from harness.reference.selfcheck.page import html_page
from harness.results.files import Json, read_regular, to_json, write_atomically
from harness.training.process import make_repeatable

SECTIONS: dict[str, Callable[[Asked, Say], list[Finding]]] = {
    module.SECTION: module.check
    for module in (devices, files, vectors, precisions, repeat, tracking, memory, times, attention)
}
"""Name -> what it checks, in the order in which they are computed."""
MOMENTARY = (devices.SECTION, files.SECTION)
"""What these say may differ a minute later, and takes no time: it is never taken from an earlier self-check."""


@dataclass(frozen=True)
class Section:
    """What one section found.

    Attributes:
        name: of the section.
        seconds: that it took.
        findings: in its order.
        stored: whether an earlier self-check found it.
    """

    name: str
    seconds: float
    findings: tuple[Finding, ...]
    stored: bool = False

    @property
    def wrong(self) -> list[Finding]:
        """What is not as it must be."""
        return [item for item in self.findings if not item.ok]


class SelfCheck:
    """One self-check, which goes on where an earlier one of the same code on the same device stopped or was killed.

    Args:
        device: that computes.
        results: the results folder.
        methods: to look at; empty: those that each section chooses.
        quick: look at a little of everything.
        slots: of a scheduler on this machine, in words.

    Attributes:
        machine: on which it runs.
        folder: where it is stored, `selfcheck/<device>-<digest>/` of the results folder.
        path: the JSON file in it.
    """

    def __init__(
        self,
        device: torch.device,
        results: Path,
        methods: tuple[str, ...] = (),
        quick: bool = False,
        slots: tuple[str, ...] = (),
    ) -> None:
        self.machine: Environment = describe(device)
        self.key: Json = {
            "code": code_digest(),
            "skipbench": self.machine.skipbench,
            "torch": self.machine.torch,
            "cuda": self.machine.cuda,
            "device": str(device),
            "name": self.machine.processor if device.type == "cpu" else self.machine.device,
            "threads": self.machine.threads,
            "methods": list(methods),
            "quick": quick,
        }
        digest = hashlib.sha256(json.dumps(self.key).encode()).hexdigest()[:12]
        name = re.sub(r"[^A-Za-z0-9]+", "_", str(device))
        self.folder = results / "selfcheck" / f"{name}-{digest}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "selfcheck.json"
        self._sections, known = self._read()
        self._items = Items(known, self._write)
        self._asked = Asked(device, methods, quick, self.folder, self._items, slots)

    @property
    def sections(self) -> list[Section]:
        """All that is known, in order."""
        return [self._sections[name] for name in SECTIONS if name in self._sections]

    def run(self, parts: tuple[str, ...], anew: bool, say: Say) -> Iterator[Section]:
        """The sections that are asked for; what is stored and all right is not computed again.

        Args:
            parts: names of sections; empty: all.
            anew: compute what is stored, too.
            say: takes what is computed next.
        """
        for name in SECTIONS:
            if parts and name not in parts:
                continue
            known = self._sections.get(name)
            if known is None or known.wrong or anew or name in MOMENTARY:
                if known or anew:
                    # Only of a section that is not done parts are believed.
                    self._items.forget(name)
                    self._sections.pop(name, None)
                self._sections[name] = self._compute(name, _named(name, say))
                self._items.forget(name)
                self._write()
            yield self._sections[name]

    def _compute(self, name: str, say: Say) -> Section:
        started = time.perf_counter()
        say("begins")
        # As in every run; before a GPU computes anything, because its libraries look at that only once.
        make_repeatable(seed=0)
        found = guarded(name, "section", lambda: SECTIONS[name](self._asked, say))
        return Section(name, time.perf_counter() - started, tuple(found))

    def _read(self) -> tuple[dict[str, Section], dict[str, dict[str, list[Finding]]]]:
        """What an earlier self-check stored: sections, and the parts of one that was not done.

        Nothing of it if its file is missing, damaged or of other code.
        """
        try:
            content = json.loads(read_regular(self.path))
            if content["key"] != self.key:
                return {}, {}
            sections = {name: _section(name, stored) for name, stored in content["sections"].items()}
            parts = {
                name: {subject: [Finding(**item) for item in stored] for subject, stored in subjects.items()}
                for name, subjects in content["parts"].items()
            }
            return sections, parts
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}, {}

    def _write(self) -> None:
        sections = {
            item.name: {"seconds": item.seconds, "findings": [asdict(finding) for finding in item.findings]}
            for item in self.sections
        }
        parts = {
            name: {subject: [asdict(finding) for finding in found] for subject, found in subjects.items()}
            for name, subjects in self._items.known.items()
        }
        content = {"key": self.key, "machine": self.machine.model_dump(), "sections": sections, "parts": parts}
        write_atomically(self.path, to_json(content))
        findings = [finding for item in self.sections for finding in item.findings]
        write_atomically(self.path.with_suffix(".html"), html_page(self.machine, findings).encode())


def _named(section: str, say: Say) -> Say:
    """Takes what a section computes next, and names the section before it."""
    return lambda words: say(f"{section}: {words}")


def _section(name: str, stored: Any) -> Section:
    findings = tuple(Finding(**item) for item in stored["findings"])
    return Section(name, float(stored["seconds"]), findings, stored=True)


def code_digest() -> str:
    """SHA-256 of what decides the numbers: the project's code and what comes with it (vectors, recipes, the embedded
    backbone and images), and methods of the user's own."""
    digest = hashlib.sha256()
    folders = [Path(harness.__file__).parent, *map(Path, methods.__path__), EXPERIMENTS, vectors.GOLDEN]
    files = (path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts)
    for path in sorted(path for path in files if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
