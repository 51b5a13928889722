"""Pickles as the official code writes them, without its code: a class of its name in a module of its name."""

import pickle
import sys
import types
from collections.abc import Iterable
from typing import Any

import pytest

MODULE = "dassl.data.datasets.base_dataset"

Image = tuple[str, int, str]
"""Path, label and class name."""


def official_datum(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The official class, importable as long as the test runs."""

    class Datum:
        def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = "") -> None:
            self._impath = impath
            self._label = label
            self._domain = domain
            self._classname = classname

    Datum.__module__, Datum.__qualname__ = MODULE, "Datum"
    module = types.ModuleType(MODULE)
    module.Datum = Datum  # type: ignore[attr-defined]
    for name in ("dassl", "dassl.data", "dassl.data.datasets"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, MODULE, module)
    return Datum


def pickled_sample(monkeypatch: pytest.MonkeyPatch, protocol: int | None = None, **images: Iterable[Image]) -> bytes:
    """A sample as `split_fewshot/shot_K-seed_S.pkl`: train=[...], val=[...]."""
    with monkeypatch.context() as patch:
        make = official_datum(patch)
        lists = {
            name: [make(impath, label, 0, words) for impath, label, words in rows] for name, rows in images.items()
        }
        return pickle.dumps(lists, protocol=pickle.HIGHEST_PROTOCOL if protocol is None else protocol)
