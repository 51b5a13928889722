"""Downloads of data sets, from a server on this machine: resumed, checked, unpacked, and never overwriting."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import harness.data.fetch
from harness.data.catalog import DATASETS
from harness.data.datasets import read_dataset
from harness.data.downloads import DOWNLOADS, Download
from harness.data.fetch import STORE, Plan, fetch, plan_of
from harness.errors import NoSpaceError, UserError
from tests.commands import skipbench

Files = dict[str, bytes]


@dataclass
class Web:
    """A server: its files by path, what it was asked for, and how it misbehaves.

    Attributes:
        url: of its root.
        files: path -> content.
        asked: method, path and range of each request.
        most: bytes that it sends before it breaks off; None: all.
        ranges: whether it sends parts of files.
        tells_size: whether it answers HEAD.
    """

    url: str = ""
    files: Files = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    most: int | None = None
    ranges: bool = True
    tells_size: bool = True


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    found = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            found.asked.append((self.command, self.path, self.headers.get("Range", "")))
            content = found.files.get(self.path)
            if content is None or not (body or found.tells_size):
                self.send_error(404 if content is None else 405)
                return
            begin = 0
            if self.headers.get("Range") and found.ranges:
                begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if begin >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            if body:
                end = len(content) if found.most is None else begin + found.most
                self.wfile.write(content[begin:end])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(harness.data.fetch, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def tar_of(files: Files, mode: str = "w:gz", change: Callable[[tarfile.TarInfo], None] = lambda member: None) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as opened:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            change(member)
            opened.addfile(member, io.BytesIO(content))
    return data.getvalue()


def make_link(member: tarfile.TarInfo) -> None:
    member.type, member.linkname = tarfile.SYMTYPE, "/etc"


def zip_of(files: Files) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return data.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def dtd_archive(jpeg: bytes) -> bytes:
    return tar_of({f"dtd/images/{name}/{number}.jpg": jpeg for name in ("banded", "dotted") for number in range(10)})


def quiet(what: str, done: int, total: int | None) -> None:
    assert done >= 0
    assert total is None or done <= total, what


def offer(web: Web, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, **changes: object) -> Download:
    """Let the server have the one file of a data set."""
    web.files["/data.tgz"] = content
    options = {"url": f"{web.url}/data.tgz", "md5": md5(content), **changes}
    download = Download(**options)  # type: ignore[arg-type]
    monkeypatch.setitem(DOWNLOADS, name, (download,))
    return download


def test_an_archive_is_downloaded_checked_and_unpacked(
    web: Web, tmp_path: Path, tiny_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = dtd_archive(tiny_jpeg)
    offer(web, monkeypatch, "dtd", archive)
    plan = plan_of("dtd", "")
    assert plan.size == len(archive)
    fetch(plan, tmp_path, quiet)
    assert len(read_dataset("dtd", str(tmp_path)).train) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["dtd"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("tells_size", [True, False])
def test_a_download_goes_on_where_it_stopped(
    ranges: bool, tells_size: bool, web: Web, tmp_path: Path, tiny_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = dtd_archive(tiny_jpeg)
    offer(web, monkeypatch, "dtd", archive)
    web.ranges, web.tells_size = ranges, tells_size
    (tmp_path / STORE).mkdir()
    (tmp_path / STORE / "data.tgz.part").write_bytes(archive[:100])
    fetch(plan_of("dtd", ""), tmp_path, quiet)
    assert web.asked[1:] == [("GET", "/data.tgz", "bytes=100-")]
    assert (tmp_path / "dtd" / "images" / "banded" / "3.jpg").read_bytes() == tiny_jpeg


@pytest.mark.parametrize("tells_size", [True, False])
def test_a_connection_that_breaks_off_is_taken_up_again(
    tells_size: bool, web: Web, tmp_path: Path, tiny_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = dtd_archive(tiny_jpeg)
    offer(web, monkeypatch, "dtd", archive)
    web.tells_size = tells_size
    web.most = len(archive) // 3
    fetch(plan_of("dtd", ""), tmp_path, quiet)
    assert len(web.asked) == 5  # HEAD, then four parts
    assert (tmp_path / "dtd").is_dir()


def test_a_whole_file_of_unknown_size_is_only_checked(
    web: Web, tmp_path: Path, tiny_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = dtd_archive(tiny_jpeg)
    offer(web, monkeypatch, "dtd", archive)
    web.tells_size = False
    (tmp_path / STORE).mkdir()
    (tmp_path / STORE / "data.tgz.part").write_bytes(archive)
    fetch(plan_of("dtd", ""), tmp_path, quiet)
    assert (tmp_path / "dtd").is_dir()


def test_a_connection_that_gives_nothing_ends_in_one_line_and_keeps_what_is_there(
    web: Web, tmp_path: Path, tiny_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = dtd_archive(tiny_jpeg)
    offer(web, monkeypatch, "dtd", archive)
    web.most = 0
    (tmp_path / STORE).mkdir()
    (tmp_path / STORE / "data.tgz.part").write_bytes(archive[:100])
    with pytest.raises(UserError, match=r"data\.tgz' broke off .*: the same command goes on where it stopped"):
        fetch(plan_of("dtd", ""), tmp_path, quiet)
    assert (tmp_path / STORE / "data.tgz.part").read_bytes() == archive[:100]
    web.most = None
    fetch(plan_of("dtd", ""), tmp_path, quiet)
    assert (tmp_path / "dtd").is_dir()


def test_another_file_than_the_published_is_deleted(
    web: Web, tmp_path: Path, tiny_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(web, monkeypatch, "dtd", dtd_archive(tiny_jpeg), md5="0" * 32)
    with pytest.raises(UserError, match=f"{'0' * 32} is published: it is another file, and was deleted"):
        fetch(plan_of("dtd", ""), tmp_path, quiet)
    assert not list((tmp_path / STORE).iterdir())
    assert not (tmp_path / "dtd").exists()


def test_what_is_there_is_not_overwritten(
    web: Web, tmp_path: Path, tiny_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(web, monkeypatch, "dtd", dtd_archive(tiny_jpeg))
    own = tmp_path / "dtd" / "images" / "banded" / "0.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    fetch(plan_of("dtd", ""), tmp_path, quiet)
    assert own.read_bytes() == b"mine"
    assert len(list(own.parent.iterdir())) == 10


def test_an_archive_in_an_archive(web: Web, tmp_path: Path, tiny_jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tar_of({f"101_ObjectCategories/Faces/{number}.jpg": tiny_jpeg for number in range(10)})
    outer = zip_of({"caltech-101/101_ObjectCategories.tar.gz": inner, "caltech-101/Annotations.tar": b""})
    offer(web, monkeypatch, "caltech101", outer, inner="caltech-101/101_ObjectCategories.tar.gz")
    fetch(plan_of("caltech101", ""), tmp_path, quiet)
    assert sorted(path.name for path in (tmp_path / "caltech-101").iterdir()) == [
        "101_ObjectCategories",
        "Annotations.tar",
    ]
    assert read_dataset("caltech101", str(tmp_path)).class_names == ("face",)


def test_a_file_that_is_no_archive_is_only_put_in_its_place(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = gzip.compress(b"labels")
    offer(web, monkeypatch, "mnist", content, into="MNIST/raw", unpack=False)
    for _ in range(2):
        fetch(plan_of("mnist", ""), tmp_path, quiet)
        assert (tmp_path / "MNIST" / "raw" / "data.tgz").read_bytes() == content
    assert [method for method, _, _ in web.asked].count("GET") == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"no archive", "cannot be unpacked"),
        (tar_of({"../outside.jpg": b"1"}), "cannot be unpacked"),
        (tar_of({"/etc/outside.jpg": b"1"}), ""),
        (tar_of({"link": b""}, change=make_link), "cannot be unpacked"),
        (zip_of({"../outside.jpg": b"1"}), ""),
    ],
    ids=["no archive", "upwards", "absolute", "a link", "upwards in a zip file"],
)
def test_nothing_is_written_outside_the_data_root(
    content: bytes, expected: str, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(web, monkeypatch, "dtd", content)
    root = tmp_path / "data"
    root.mkdir()
    if expected:
        with pytest.raises(UserError, match=expected):
            fetch(plan_of("dtd", ""), root, quiet)
    else:
        fetch(plan_of("dtd", ""), root, quiet)
    assert not list(tmp_path.glob("outside*"))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert not Path("/etc/outside.jpg").exists()


def test_a_file_that_is_gone_and_a_server_that_is_gone_are_named(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(web, monkeypatch, "dtd", b"", url=f"{web.url}/gone.tgz")
    with pytest.raises(UserError, match=r"gone\.tgz' cannot be reached \(.*404.*\): try again later"):
        plan_of("dtd", "")
    offer(web, monkeypatch, "dtd", b"", url="http://127.0.0.1:9/gone.tgz")
    with pytest.raises(UserError, match=r"gone\.tgz' cannot be reached \(.*refused"):
        plan_of("dtd", "")


def test_a_disk_that_is_too_small_is_said_before_anything_is_downloaded(web: Web, tmp_path: Path) -> None:
    plan = Plan((Download(f"{web.url}/data.tgz"),), (1 << 60,))
    with pytest.raises(NoSpaceError, match="archives with their content need about"):
        fetch(plan, tmp_path, quiet)
    assert web.asked == []


def test_every_download_is_of_a_data_set_and_has_a_plain_address() -> None:
    assert DOWNLOADS.keys() <= DATASETS.keys()
    for downloads in DOWNLOADS.values():
        for download in downloads:
            assert download.url.startswith(("http://", "https://"))
            assert download.md5 is None or len(download.md5) == 32
    names = [download.name for downloads in DOWNLOADS.values() for download in downloads]
    assert len(names) == len(set(names))  # they lie in one folder


def test_the_command_asks_and_verifies(
    web: Web, tmp_path: Path, tiny_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = dtd_archive(tiny_jpeg)
    offer(web, monkeypatch, "dtd", archive)
    assert "data --get dtd" in skipbench("data", "dtd", "--data", str(tmp_path)).stdout
    assert "data --get" not in skipbench("data", "imagenet", "--data", str(tmp_path)).stdout
    refused = skipbench("data", "--get", "dtd", "--data", str(tmp_path))
    assert refused.returncode == 2
    assert "add --yes to go on without being asked" in refused.stderr
    assert not list(tmp_path.iterdir())
    done = skipbench("data", "--get", "dtd", "--yes", "--data", str(tmp_path))
    assert f"dtd: 1 file, {len(archive) / 1e6:.1f} MB, from 127.0.0.1:" in done.stdout
    assert "incomplete dtd" in done.stdout
    assert "2 classes, 10/4/6 train/val/test" in done.stdout
    assert "differs: 47 classes, 2820 train" in done.stdout
    assert done.returncode == 1
    for words, line in (
        (("--get", "imagenet"), "'imagenet' cannot be downloaded in this way; get it: images: https://image-net.org"),
        (("--get", "dtdd"), "unknown data set 'dtdd'. Did you mean 'dtd'?"),
        (("eurosat", "--get", "dtd"), "--get dtd downloads one data set: leave out 'eurosat'"),
    ):
        failed = skipbench("data", *words, "--data", str(tmp_path))
        assert (failed.returncode, line in failed.stderr) == (2, True)
