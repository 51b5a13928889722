"""Artifacts of the W&B stub: tables with pictures, checkpoints and samples travel as these, file by file."""

from typing import Any

Json = dict[str, Any]


class ArtifactStore:
    """What a server knows of artifacts.

    Attributes:
        files: name of the artifact without its alias -> names of the files that were put.
        kinds: name -> type.
        committed: names of those that are whole.
    """

    def __init__(self) -> None:
        self.files: dict[str, list[str]] = {}
        self.kinds: dict[str, str] = {}
        self.committed: list[str] = []
        self.url = ""

    def answer(self, operation: str, variables: Json) -> Json | None:
        """Answer an operation; None for one that is not about artifacts."""
        found = getattr(self, f"_{operation}", None)
        return None if found is None else found(variables.get("input") or variables)

    def put(self, path: str) -> None:
        """Take a file: /artifact/<name>/<file>."""
        _, name, file = path.strip("/").split("/", 2)
        self.files[name].append(file)

    def _place(self, name: str, file: str) -> Json:
        url = f"{self.url}/artifact/{name}/{file}"
        return {"id": "f", "name": file, "displayName": file, "uploadUrl": url, "uploadHeaders": []}

    def _ArtifactType(self, _: Json) -> Json:  # noqa: N802
        return {"project": {"artifact": None}}

    def _CreateArtifact(self, asked: Json) -> Json:  # noqa: N802
        name = asked["artifactCollectionName"]
        self.files[name], self.kinds[name] = [], asked["artifactTypeName"]
        artifact = {"id": name, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _CreateArtifactManifest(self, asked: Json) -> Json:  # noqa: N802
        manifest = {
            "id": asked["artifactID"],
            "file": self._place(asked["artifactID"], asked.get("name") or "manifest"),
        }
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _UpdateArtifactManifest(self, asked: Json) -> Json:  # noqa: N802
        manifest = {"id": asked["artifactManifestID"], "file": self._place(asked["artifactManifestID"], "manifest")}
        return {"updateArtifactManifest": {"artifactManifest": manifest}}

    def _CreateArtifactFiles(self, asked: Json) -> Json:  # noqa: N802
        nodes = [self._node(one["artifactID"], one["name"]) for one in asked["artifactFiles"]]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _node(self, name: str, file: str) -> Json:
        artifact = {"artifact": {"id": name}, "storagePath": file, "uploadMultipartUrls": None}
        return {**self._place(name, file), **artifact}

    def _CommitArtifact(self, asked: Json) -> Json:  # noqa: N802
        self.committed.append(asked["artifactID"])
        return {"commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": ""}}}
