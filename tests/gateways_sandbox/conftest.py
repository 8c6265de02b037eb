import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.gateways_sandbox.wire import Sandbox, eventually


class Receiver:
    """A merchant's address for notifications: keeps what comes and answers what it is told to."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.answers: list[tuple[int, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                receiver.paths.append(self.path)
                status, text = receiver.answers.pop(0) if receiver.answers else (200, "OK: stored")
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/push?secret=s3"
        self.element = f"<confirmationURL>{self.url}</confirmationURL>"

    def parameters(self) -> list[dict[str, str]]:
        return [dict(parse_qsl(urlsplit(path).query, keep_blank_values=True)) for path in self.paths]

    def states(self) -> list[str]:
        return [found["STATUS"] for found in self.parameters()]

    def wait_for(self, count: int) -> list[str]:
        eventually(lambda: len(self.paths) >= count)
        return self.states()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="session")
def defaults(running: Sandbox) -> dict[str, Any]:
    found: dict[str, Any] = running.control("settings")
    return found


@pytest.fixture
def sandbox(running: Sandbox, defaults: dict[str, Any]) -> Iterator[Sandbox]:
    yield running
    running.settings(**defaults)
    running.reset()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()
