"""Every simulator listens on a loopback port of its own, in one process, until it is told to stop."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateways.sandbox.control import Control, Simulator
from gateways.sandbox.ledger import UnusableStateError
from gateways.sandbox.throttle import Throttle

log = logging.getLogger("sandbox")

HOST = "127.0.0.1"
PORTS_FILE = "sandbox.json"


class CuttableProtocol(H11Protocol):
    """HTTP whose requests can find their connection, so that a fault can cut it without an answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the connection where ``cut`` finds it."""
        if isinstance(transport, asyncio.Transport):
            self.app_state = {**self.app_state, "connection": transport}
            super().connection_made(transport)


async def cut(request: Request) -> None:
    """Close the connection of a request at once, without a byte of answer."""
    request.state.connection.abort()
    # One turn of the loop, in which the server notices that nobody is there to be answered.
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def complain(clockwork: asyncio.Task[None]) -> None:
    """Say so if time has stopped for another reason than the end of the process."""
    if not clockwork.cancelled() and clockwork.exception():
        log.error("time no longer passes", exc_info=clockwork.exception())


class QuietServer(uvicorn.Server):
    """A server that leaves signals to the process and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone; several servers share one process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self.listening.set()


def remembered_ports(folder: Path) -> dict[str, int]:
    """Return the ports that a state folder was used with before."""
    try:
        kept = json.loads((folder / PORTS_FILE).read_text("utf-8"))
        return {str(name): int(port) for name, port in kept["ports"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as problem:
        raise UnusableStateError(f"{folder / PORTS_FILE} cannot be read") from problem


def chosen_ports(folder: Path, names: list[str], first: int | None) -> dict[str, int]:
    """Choose a port for each simulator; 0 stands for any free one.

    A simulator that a state folder does not know yet gets the next free port
    after those it remembers.
    """
    if first is not None:
        return {name: first + number for number, name in enumerate(names)}
    kept = remembered_ports(folder)
    chosen = {name: kept.get(name, 0) for name in names}
    for name in [name for name in names if kept and name not in kept]:
        chosen[name] = next_free_port(max(chosen.values()))
    return chosen


def next_free_port(after: int) -> int:
    """Return the first port above this one that can be listened on, or 0 if none of the next hundred can."""
    for port in range(after + 1, min(after + 101, 65536)):
        with contextlib.suppress(UnusableStateError):
            open_socket("a simulator", port).close()
            return port
    return 0


def open_socket(name: str, port: int, host: str = HOST) -> socket.socket:
    """Listen on a port, by default of the loopback, or say in one sentence why not."""
    # The protocol is named because asyncio only then switches Nagle's delay off; without it each answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as problem:
        listener.close()
        raise UnusableStateError(f"{name} cannot listen on {host}:{port}: {problem}") from problem
    return listener


def open_sockets(folder: Path, names: list[str], first: int | None, host: str = HOST) -> dict[str, socket.socket]:
    """Listen for every simulator and remember the ports for the next start."""
    sockets = {name: open_socket(name, port, host) for name, port in chosen_ports(folder, names, first).items()}
    ports = {name: listener.getsockname()[1] for name, listener in sockets.items()}
    (folder / PORTS_FILE).write_text(json.dumps({"ports": ports}) + "\n", "utf-8")
    return sockets


def make_server(simulator: Simulator) -> QuietServer:
    """Build the server of one simulator."""
    routes = [*simulator.routes(), *Control(simulator).routes()]
    app = Throttle(Starlette(routes=routes), simulator.knobs)
    config = uvicorn.Config(
        app,
        http=CuttableProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    return QuietServer(config)


def announcement(simulators: list[Simulator], bases: dict[str, str], *, as_json: bool) -> str:
    """Say where each simulator is and how to log in, for a program or for a person."""
    found = {s.name: {"base_url": bases[s.name], "credentials": s.credentials(bases[s.name])} for s in simulators}
    if as_json:
        return json.dumps({"gateways": found})
    lines = []
    for name, entry in found.items():
        lines.append(f"{name} listens at {entry['base_url']}")
        lines += [f"  {key}: {value}" for key, value in simulator_words(entry["credentials"])]
    return "\n".join(lines)


def simulator_words(credentials: object) -> list[tuple[str, str]]:
    """Return credentials as pairs to print."""
    return [(str(key), str(value)) for key, value in credentials.items()] if isinstance(credentials, dict) else []


def watch_stdin(stop: asyncio.Event) -> None:
    """Stop when the parent closes our standard input, as it does by dying."""
    loop = asyncio.get_running_loop()

    def read_to_end() -> None:
        while os.read(0, 4096):
            pass
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=read_to_end, daemon=True, name="parent").start()


async def serve(
    simulators: list[Simulator], sockets: dict[str, socket.socket], *, as_json: bool, with_parent: bool
) -> None:
    """Serve until a signal, or the end of the parent, says stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if with_parent:
        watch_stdin(stop)
    bases = {name: "http://{}:{}".format(*listener.getsockname()) for name, listener in sockets.items()}
    for simulator in simulators:
        simulator.use_base_url(bases[simulator.name])
        await simulator.start()
    servers = {simulator.name: make_server(simulator) for simulator in simulators}
    running = [asyncio.create_task(server.serve([sockets[name]])) for name, server in servers.items()]
    for server in servers.values():
        await server.listening.wait()
    sys.stdout.write(announcement(simulators, bases, as_json=as_json) + "\n")
    sys.stdout.flush()
    await stop.wait()
    for server in servers.values():
        server.should_exit = True
    await asyncio.gather(*running)
    for simulator in simulators:
        await simulator.stop()
