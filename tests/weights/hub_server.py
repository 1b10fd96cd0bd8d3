"""A server on this machine that speaks what huggingface_hub asks of a hub, for the repositories of a folder."""

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


@contextlib.contextmanager
def serve(root: Path) -> Iterator[str]:
    """The address of a hub with the repositories `root`/OWNER/NAME."""

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
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(?:revision|tree)/([^/]+))?", path):
            self._answer_api(*match.groups(), tree="/tree/" in path)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._answer_file(*match.groups())
        else:
            self._refuse(404, "EntryNotFound")

    do_HEAD = do_GET

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
        if repo == GATED:
            self._refuse(403, "GatedRepo")
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
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


def _digest(file: Path) -> str:
    """By which the client knows a file: for large ones, the hub's is the SHA-256."""
    return hashlib.new("sha256" if file.suffix == ".safetensors" else "sha1", file.read_bytes()).hexdigest()
