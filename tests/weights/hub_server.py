"""A server on this machine that speaks what huggingface_hub asks of a hub, for the repositories of a folder."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The one revision of every repository, called `main` as well."""

GATED = "someone/gated"
"""A repository whose list of files is public and whose files are not, as the hub has it."""

TOKEN = "hf_token"
"""Of the one person who may write."""

BROKEN = "broken"
"""A repository with a file of this name takes large files, but no commits."""


@contextlib.contextmanager
def serve(root: Path) -> Iterator[str]:
    """The address of a hub with the repositories `root`/OWNER/NAME, of data sets `root`/datasets/OWNER/NAME."""

    class Handler(_Handler):
        repositories = root

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    repositories: Path

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/api/(?:models/|(?=datasets/))(.+?)(?:/(?:revision|tree)/([^/]+))?", path):
            self._answer_api(*match.groups(), tree="/tree/" in path)
        elif match := re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._answer_file(*match.groups())
        else:
            self._refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(b'{"error": "Invalid username or password."}', status=401)
        elif path == "/api/validate-yaml":
            self._send(b'{"warnings": [], "errors": []}')
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
            self._choose_ways(json.loads(body)["files"])
        elif re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
            self._offer(json.loads(body)["objects"])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._commit(match[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._refuse(404, "EntryNotFound")

    def do_PUT(self) -> None:
        """Keeps a large file by its SHA-256, until a commit names it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._objects.mkdir(exist_ok=True)
        (self._objects / hashlib.sha256(body).hexdigest()).write_bytes(body)
        self._send(b"")

    @property
    def _objects(self) -> Path:
        return self.repositories / "objects"

    def _create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        exists = (self.repositories / repo).exists()
        (self.repositories / repo).mkdir(parents=True, exist_ok=True)
        content = dict(url=f"{self._address}/{repo}", id="1", name=repo)
        self._send(json.dumps(content).encode(), status=409 if exists else 200)

    def _choose_ways(self, files: list[dict[str, Any]]) -> None:
        """Says which files are large."""
        ways = {f["path"]: "lfs" if f["path"].endswith(".safetensors") else "regular" for f in files}
        answer = [dict(path=path, uploadMode=way, shouldIgnore=False) for path, way in ways.items()]
        self._send(json.dumps(dict(files=answer)).encode())

    def _offer(self, objects: list[dict[str, Any]]) -> None:
        """Says where large files are sent; those that came before are not."""
        for each in objects:
            if not (self._objects / each["oid"]).exists():
                each["actions"] = dict(upload=dict(href=f"{self._address}/objects/{each['oid']}"))
        self._send(json.dumps(dict(objects=objects, transfer="basic")).encode())

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        folder = self.repositories / repo
        if (folder / BROKEN).exists():
            self._refuse(400, "")
            return
        for line in lines:
            value = line["value"]
            if line["key"] == "lfsFile":
                (folder / value["path"]).write_bytes((self._objects / value["oid"]).read_bytes())
            elif line["key"] == "file":
                (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
        self._send(json.dumps(dict(commitUrl=f"{self._address}/{repo}/commit/{COMMIT}", commitOid=COMMIT)).encode())

    @property
    def _address(self) -> str:
        return f"http://{self.headers['Host']}"

    def _answer_api(self, repo: str, revision: str | None, tree: bool) -> None:
        folder = self.repositories / repo
        if not folder.is_dir():
            self._refuse(401, "RepoNotFound")
        elif revision not in (None, "main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        else:
            files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
            listed = [
                dict(type="file", path=str(f.relative_to(folder)), oid=_digest(f), size=f.stat().st_size) for f in files
            ]
            info = dict(id=repo, sha=COMMIT, siblings=[dict(rfilename=entry["path"]) for entry in listed])
            self._send(json.dumps(listed if tree else info).encode())

    def _answer_file(self, repo: str, revision: str, name: str) -> None:
        file = self.repositories / repo / name
        if not (self.repositories / repo).is_dir():
            self._refuse(401, "RepoNotFound")
        elif repo == GATED:
            self._refuse(403, "GatedRepo")
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif not file.is_file():
            self._refuse(404, "EntryNotFound")
        else:
            self._send(file.read_bytes(), {"ETag": f'"{_digest(file)}"', "X-Repo-Commit": COMMIT})

    def _refuse(self, status: int, code: str) -> None:
        self._send(b"", {"X-Error-Code": code}, status)

    def _send(self, content: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


def _digest(file: Path) -> str:
    """By which the client knows a file: for large ones, the hub's is the SHA-256."""
    return hashlib.new("sha256" if file.suffix == ".safetensors" else "sha1", file.read_bytes()).hexdigest()
