import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.gateways_sandbox.computop_wire import Computop
from tests.gateways_sandbox.paymentz_wire import PaymentZ
from tests.gateways_sandbox.payone_wire import Payone
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


class Hook:
    """A merchant's address for webhooks: keeps what comes and when, and answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.at: list[float] = []
        self.before_answer: Callable[[], object] = lambda: None
        self.asked: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.echoes = True
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hook.asked.append({name.lower(): value for name, value in self.headers.items()})
                value = hook.asked[-1].get("x-gcs-webhooks-endpoint-verification", "")
                self._answer(200, value if hook.echoes else "no")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.at.append(time.monotonic())
                hook.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                hook.before_answer()
                self._answer(hook.answers.pop(0) if hook.answers else 204, "")

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def wait_until(self, count: int) -> None:
        eventually(lambda: len(self.got) >= count)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    def wait_for(self, *types: str) -> list[dict[str, Any]]:
        """Wait until these have come, in whatever order, and return all that came."""
        eventually(lambda: sorted(types) == sorted(event["type"] for event in self.events()))
        return self.events()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()
    yield found
    found.close()


@pytest.fixture(scope="session")
def payone_running(running: Sandbox) -> Iterator[Payone]:
    found = Payone(running)
    yield found
    found.close()


@pytest.fixture(scope="session")
def payone_defaults(payone_running: Payone) -> dict[str, Any]:
    found: dict[str, Any] = payone_running.control("settings")
    return found


@pytest.fixture
def payone(payone_running: Payone, payone_defaults: dict[str, Any]) -> Iterator[Payone]:
    payone_running.settings(settle_delay_s=0.0)
    yield payone_running
    payone_running.settings(**payone_defaults)
    payone_running.reset()


@pytest.fixture(scope="session")
def computop_running(running: Sandbox) -> Iterator[Computop]:
    found = Computop(running)
    yield found
    found.close()


@pytest.fixture(scope="session")
def computop_defaults(computop_running: Computop) -> dict[str, Any]:
    found: dict[str, Any] = computop_running.control("settings")
    return found


@pytest.fixture
def computop(computop_running: Computop, computop_defaults: dict[str, Any]) -> Iterator[Computop]:
    yield computop_running
    computop_running.settings(**computop_defaults)
    computop_running.reset()


@pytest.fixture(scope="session")
def paymentz_running(running: Sandbox) -> Iterator[PaymentZ]:
    found = PaymentZ(running)
    yield found
    found.close()


@pytest.fixture(scope="session")
def paymentz_defaults(paymentz_running: PaymentZ) -> dict[str, Any]:
    found: dict[str, Any] = paymentz_running.control("settings")
    return found


@pytest.fixture
def paymentz(paymentz_running: PaymentZ, paymentz_defaults: dict[str, Any]) -> Iterator[PaymentZ]:
    paymentz_running.settings(pending_delay_s=0.0, refund_delay_s=0.0, payout_delay_s=0.0)
    paymentz_running.log_in()
    yield paymentz_running
    paymentz_running.settings(**paymentz_defaults)
    paymentz_running.reset()
