"""A service at a free port of this machine, and requests to it, also by a browser."""

import contextlib
import http.client
import json
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def served(app) -> Iterator[tuple[str, int]]:
    """An application at a free port of this machine."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0), backlog=500)
    running = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()
    finally:
        running.should_exit = True
        thread.join()
        listening.close()


def form(images: Sequence[tuple[str, bytes]]) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a form with these files."""
    parts = [
        b'--edge\r\nContent-Disposition: form-data; name="images"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in images
    ]
    return b"".join(parts) + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def ask(address: tuple[str, int], body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict]:
    """Posts a body to /predict, and gives the status and the answer."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/predict", body, {"Content-Type": "image/png", **(headers or {})})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def get(address: tuple[str, int], path: str) -> tuple[http.client.HTTPResponse, str]:
    """Gets a path, and gives the response and its text."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response, response.read().decode()


def browsed(app, page: str, folder: Path, *flags: str) -> str:
    """Opens a page beside an application in Chromium, and gives what it has become.

    Args:
        app: the application, which gets the page as one more path.
        page: its HTML.
        folder: for what the browser keeps.
        flags: further ones of Chromium.
    """
    from fastapi.responses import HTMLResponse

    @app.get("/tried")
    def tried():
        return HTMLResponse(page)

    with served(app) as (host, port):
        flags = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--dump-dom", *flags)
        command = ["chromium", *flags, "--virtual-time-budget=20000", f"http://{host}:{port}/tried"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
