"""A hub of one model on this machine: enough of the protocol for the real client."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

MODEL, GATED, COMMIT = "org/tiny", "org/gated", "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    asked: list[str]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_POST(self) -> None:
        self.asked.append(f"POST {self.path}")
        self._refuse(404, "EntryNotFound")

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0].strip("/")
        self.asked.append(path)
        for model in (MODEL, GATED):
            if path in (f"api/models/{model}", *self._revisions(model)):
                return self._send(json.dumps({"id": model, "sha": COMMIT}).encode(), body=body)
            if path.startswith(f"api/models/{model}/revision/"):
                return self._refuse(404, "RevisionNotFound")
        if path.startswith(f"{GATED}/resolve/"):
            return self._refuse(401, "GatedRepo")
        file = self.folder / path.removeprefix(f"{MODEL}/resolve/{COMMIT}/")
        if path.startswith(f"{MODEL}/resolve/{COMMIT}/") and file.is_file():
            return self._send(file.read_bytes(), body=body)
        known = MODEL in path or GATED in path
        return self._refuse(404 if known else 401, "EntryNotFound" if known else "RepoNotFound")

    def _revisions(self, model: str) -> list[str]:
        return [f"api/models/{model}/revision/{name}" for name in ("main", COMMIT)]

    def _send(self, data: bytes, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(data) & 0xFFFFFFFF:040x}"')
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves ``folder`` as MODEL at COMMIT; yields the address and the list of what was asked."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"folder": folder, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
