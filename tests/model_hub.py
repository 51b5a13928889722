"""A hub of models on this machine, with the few answers that downloading from the Hugging Face hub needs."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"
API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/?]+))?(?:\?.*)?")
FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
GATED = "some/gated"


class Hub(ThreadingHTTPServer):
    """Serves the folders below a folder as models, organisation/name; each has the revision main.

    Attributes:
        asked: the names of the files that were asked for.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.root = root
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """One answer of the hub."""

    server: Hub

    def do_HEAD(self) -> None:
        """What is known about a file."""
        self.do_GET()

    def do_GET(self) -> None:
        """A file, or what is known about a model."""
        api, file = API.fullmatch(self.path), FILE.fullmatch(self.path)
        found = api or file
        if found is None or found[1] == GATED or not (self.server.root / found[1]).is_dir():
            gated = found is not None and found[1] == GATED
            return self.answer(403 if gated else 401, b"", {"X-Error-Code": "GatedRepo" if gated else "RepoNotFound"})
        if found[2] not in (None, "main", COMMIT):
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        folder = self.server.root / found[1]
        if api:
            siblings = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
            about = {"id": found[1], "sha": COMMIT, "siblings": siblings, "private": False, "downloads": 0, "tags": []}
            return self.answer(200, json.dumps(about).encode(), {"Content-Type": "application/json"})
        path = folder / found[3]
        self.server.asked.append(found[3])
        if not path.is_file():
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        return self.answer(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """A hub of the models below a folder."""
    with Hub(root) as hub:
        thread = Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
