"""Files that are something else than their names say."""

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pytest

from harness.machine.file_kinds import kind_of, kind_of_file

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 34\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"<html lang='en'>", "web page"),
        (gzip.compress(b"x", mtime=0), "gzip"),
        (bz2.compress(b"x"), "bzip2"),
        (lzma.compress(b"x"), "xz"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd"),
        (b"PAR1", ""),
        (b"", ""),
    ],
)
def test_what_a_file_is(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a").write_bytes(content)
    assert kind_of_file(tmp_path / "a") == kind_of(content)
    assert words in kind_of(content)
    assert bool(kind_of(content)) == bool(words)


def test_what_is_no_regular_file_is_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert kind_of_file(tmp_path / "pipe") == kind_of_file(tmp_path) == kind_of_file(tmp_path / "none") == ""
