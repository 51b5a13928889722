"""A loopback server that answers what the Hugging Face hub's client asks for data sets."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMMIT = "c0ffee" * 6 + "c0ff"
OTHER_COMMIT = "decade" * 6 + "deca"
API = re.compile(r"/api/datasets/(?P<name>.+?)/revision/(?P<revision>[^?]+)")
FILE = re.compile(r"/datasets/(?P<name>.+?)/resolve/(?P<commit>[0-9a-f]{40})/(?P<file>[^?]+)")


class HubStub:
    """The server; a context manager.

    Attributes:
        folders: (name, commit) -> folder of a data set's files.
        revisions: (name, branch) -> commit.
        gated: names that are given on request only.
        requests: method and path of what it was asked for.
        lies: files whose SHA-256 it states wrongly.
        breaks: files of which it sends half, once each.
        ranges: what clients asked for in the middle of a file.
    """

    def __init__(self) -> None:
        self.folders: dict[tuple[str, str], Path] = {}
        self.revisions: dict[tuple[str, str], str] = {}
        self.gated: set[str] = set()
        self.requests: list[str] = []
        self.lies: set[str] = set()
        self.breaks: set[str] = set()
        self.ranges: list[str] = []
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    def add(self, name: str, folder: Path, branch: str = "main", commit: str = COMMIT) -> None:
        """Offer a folder as a data set."""
        self.folders[name, commit] = folder
        self.revisions[name, branch] = commit
        self.revisions[name, commit] = commit

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "HubStub":
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                stub.requests.append(f"{self.command} {self.path}")
                if found := API.match(self.path):
                    return self.tell(found["name"], unquote(found["revision"]))
                if found := FILE.match(self.path):
                    path = stub.folders[found["name"], found["commit"]] / unquote(found["file"])
                    if path.is_file():
                        return self.give(path, found["commit"], body)
                return self.reply(404, {"X-Error-Code": "EntryNotFound"}, b"", body)

            def tell(self, name: str, revision: str) -> None:
                if name in stub.gated:
                    return self.reply(403, {"X-Error-Code": "GatedRepo"}, b"{}")
                if not any(known == name for known, _ in stub.revisions):
                    return self.reply(404, {"X-Error-Code": "RepoNotFound"}, b"{}")
                commit = stub.revisions.get((name, revision))
                if commit is None:
                    return self.reply(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
                folder = stub.folders[name, commit]
                siblings = [stub.sibling(folder, path) for path in sorted(folder.rglob("*")) if path.is_file()]
                content = {"id": name, "sha": commit, "siblings": siblings, "tags": [], "private": False}
                return self.reply(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

            def give(self, path: Path, commit: str, body: bool) -> None:
                data = path.read_bytes()
                headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit}
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                start = int(asked[1]) if asked and int(asked[1]) < len(data) else 0
                if start:
                    stub.ranges.append(f"{path.name} {start}")
                    headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                if body and path.name in stub.breaks:
                    stub.breaks.remove(path.name)
                    self.send_response(200)
                    for key, value in {**headers, "Content-Length": str(len(data))}.items():
                        self.send_header(key, value)
                    self.end_headers()
                    self.wfile.write(data[: len(data) // 2])
                    self.wfile.flush()
                    self.close_connection = True
                    return None
                return self.reply(206 if start else 200, headers, data[start:], body)

            def reply(self, code: int, headers: dict[str, str], data: bytes, body: bool = True) -> None:
                self.send_response(code)
                for key, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if body:
                    self.wfile.write(data)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that goes away tells nobody anything."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def sibling(self, folder: Path, path: Path) -> dict[str, Any]:
        """What the hub says of a file; large files have a SHA-256."""
        data = path.read_bytes()
        found: dict[str, Any] = {"rfilename": path.relative_to(folder).as_posix(), "size": len(data)}
        if path.suffix in (".parquet", ".tar"):
            digest = hashlib.sha256(b"another" if path.name in self.lies else data).hexdigest()
            found["lfs"] = {"size": len(data), "sha256": digest, "pointerSize": 130}
        return found
