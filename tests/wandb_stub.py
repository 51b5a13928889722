"""A W&B server for tests, on loopback: what `wandb` 0.31 asks for in mode online, and a record of what it was sent.

It answers the GraphQL operations of a run's start, its resumption and its files, and the file stream that brings
history and summary. Anything else is refused and noted in `unknown`, so that a test sees what a newer client needs.
"""

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.wandb_artifacts import ArtifactStore

ENTITY = "tester"
KEY = "x" * 40
HISTORY, EVENTS, SUMMARY, OUTPUT = "wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log"
Json = dict[str, Any]


@dataclass
class StubRun:
    """One run as the server knows it.

    Attributes:
        lines: file of the stream -> its lines in order.
        resent: lines that came although one of that number was there already.
        uploads: names of the files that were put.
        exit_code: of the last client that closed it; None while one writes.
    """

    id: str
    project: str
    entity: str
    group: str | None = None
    name: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    config: Json = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    resent: int = 0
    uploads: list[str] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def history(self) -> list[Json]:
        """Rows that were logged."""
        return [json.loads(line) for line in self.lines.get(HISTORY, [])]

    @property
    def summary(self) -> Json:
        """The summary as it stood in the last line that was sent."""
        lines = self.lines.get(SUMMARY, [])
        return json.loads(lines[-1]) if lines else {}

    def settings(self) -> Json:
        """The configuration without the client's own entries."""
        return {key: item["value"] for key, item in self.config.items() if key != "_wandb"}

    def described(self) -> Json:
        """What queries answer, under the server's names."""
        return {
            "id": self.id,
            "name": self.id,
            "displayName": self.name,
            "description": None,
            "notes": None,
            "state": "running" if self.exit_code is None else "finished",
            "tags": self.tags,
            "group": self.group,
            "jobType": self.job_type,
            "sweepName": None,
            "config": json.dumps(self.config),
            "summaryMetrics": json.dumps(self.summary),
            "systemMetrics": "{}",
            "historyLineCount": len(self.lines.get(HISTORY, [])),
            "historyKeys": None,
            "user": {"name": ENTITY, "username": ENTITY},
        }

    def stream(self, body: Json) -> None:
        """Take one request of the file stream."""
        for name, chunk in body.get("files", {}).items():
            lines = self.lines.setdefault(name, [])
            offset = chunk["offset"]
            if name == HISTORY:
                self.resent += max(0, len(lines) - offset)
            lines[offset : offset + len(chunk["content"])] = chunk["content"]
        self.exit_code = body["exitcode"] if body.get("complete") else None


class Server(ThreadingHTTPServer):
    """Takes requests in threads that end with the tests."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that was killed tells nobody anything."""


class WandbStub:
    """The server; a context manager.

    Attributes:
        runs: what it was sent; outlives `stop` and `start`.
        requests: names of the operations it was asked for.
        unknown: what it was asked for and cannot answer.
        artifacts: what it was sent of these.
        refusing: set it, and lines of runs are refused.
    """

    def __init__(self) -> None:
        self.runs: dict[str, StubRun] = {}
        self.refusing = False
        self.requests: list[str] = []
        self.unknown: list[str] = []
        self.port = 0
        self.artifacts = ArtifactStore()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """For WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

            def do_POST(self) -> None:
                data = self._body()
                if self.path.startswith("/sdk/"):  # the client's figures about itself, no JSON; a server may do without
                    return self._answer(404, {})
                body = json.loads(data or b"{}")
                with stub._lock:
                    answer = stub.query(body) if self.path.endswith("/graphql") else stub.file_stream(self.path, body)
                return self._answer(
                    200 if answer is not None else 404, answer or {"errors": [{"message": "not in the stub"}]}
                )

            def do_PUT(self) -> None:
                self._body()
                with stub._lock:
                    stub.put(self.path)
                self._answer(200, {})

            def do_GET(self) -> None:
                self._answer(200, {})

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _answer(self, status: int, value: Json) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        self.artifacts.url = self.url
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Go away: whoever asks finds nobody."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> "WandbStub":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def query(self, body: Json) -> Json | None:
        """Answer a GraphQL operation; None for one that is not known."""
        match = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
        operation = match.group(1) if match else body["query"][:40]
        self.requests.append(operation)
        if (found := self.artifacts.answer(operation, body.get("variables") or {})) is not None:
            return {"data": found}
        answer = getattr(self, f"_{operation}", None)
        if answer is None:
            self.unknown.append(operation)
            return None
        return {"data": answer(body.get("variables") or {})}

    def file_stream(self, path: str, body: Json) -> Json | None:
        """Take lines of a run: /files/<entity>/<project>/<run>/file_stream."""
        parts = path.strip("/").split("/")
        if self.refusing:
            return None
        if parts[0] != "files" or parts[-1] != "file_stream":
            self.unknown.append(path)
            return None
        self.requests.append("file_stream")
        self.runs[parts[3]].stream(body)
        return {"exitcode": None, "limits": {}}

    def put(self, path: str) -> None:
        """Take a file: /upload/<run>/<name>, or one of an artifact."""
        if path.startswith("/artifact/"):
            self.artifacts.put(path)
            return
        _, run_id, name = path.strip("/").split("/", 2)
        self.runs[run_id].uploads.append(name)

    def _Viewer(self, _: Json) -> Json:  # noqa: N802
        viewer = {"id": "v", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer}

    def _GetDefaultEntity(self, _: Json) -> Json:  # noqa: N802
        return {"viewer": {"id": "v", "entity": ENTITY}}

    def _Run(self, variables: Json) -> Json:  # noqa: N802
        run = self.runs.get(variables["name"])
        return {"project": {"run": run and {**run.described(), "projectId": "1"}}}

    def _ServerFeaturesQuery(self, _: Json) -> Json:  # noqa: N802
        return {"serverInfo": {"features": []}}

    def _RunResumeStatus(self, variables: Json) -> Json:  # noqa: N802
        run = self.runs.get(variables["name"])
        entity = variables.get("entity") or ENTITY
        model = {"id": "m", "name": variables["project"], "entity": {"id": "e", "name": entity}, "bucket": None}
        if run is not None:
            counts = {name: len(run.lines.get(name, [])) for name in (EVENTS, OUTPUT)}
            model["bucket"] = {
                **run.described(),
                "logLineCount": counts[OUTPUT],
                "eventsLineCount": counts[EVENTS],
                "historyTail": json.dumps(run.lines.get(HISTORY, [])[-1:]),
                "eventsTail": json.dumps(run.lines.get(EVENTS, [])[-1:]),
                "wandbConfig": json.dumps({"t": 1}),
            }
        return {"model": model}

    def _UpsertBucket(self, variables: Json) -> Json:  # noqa: N802
        entity = variables.get("entity") or ENTITY
        name = variables["name"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, StubRun(name, variables["project"], entity))
        run.group = variables.get("groupName") or run.group
        run.name = variables.get("displayName") or run.name
        run.job_type = variables.get("jobType") or run.job_type
        run.tags = variables.get("tags") or run.tags
        run.config = json.loads(variables.get("config") or "{}") or run.config
        project = {"id": "p", "name": run.project, "entity": {"id": "e", "name": entity}}
        return {"upsertBucket": {"bucket": {**run.described(), "project": project}, "inserted": inserted}}

    def _CreateRunFiles(self, variables: Json) -> Json:  # noqa: N802
        run_id = variables["run"]
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{run_id}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": run_id, "uploadHeaders": [], "files": files}}
