"""``python -m gateways.sandbox`` serves every simulator until it is stopped.

The first line of standard output appears when all of them listen; logs go to
standard error. Exit status: 0 stopped, 2 could not start (one line says why).
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from gateways.sandbox.computop import Computop
from gateways.sandbox.control import Simulator
from gateways.sandbox.ledger import UnusableStateError
from gateways.sandbox.mpay24 import Mpay24
from gateways.sandbox.paymentz import PaymentZ
from gateways.sandbox.payone import Payone
from gateways.sandbox.server import HOST, open_sockets, serve


def read_arguments(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m gateways.sandbox", description="Serve the gateway simulators.")
    parser.add_argument("--state-dir", metavar="DIR", help="keep everything in this folder; by default a temporary one")
    parser.add_argument("--ports", metavar="FIRST", type=int, help="the first port; the others follow it")
    parser.add_argument("--host", default=HOST, help="the address to listen at, that of the loopback unless you say")
    parser.add_argument("--json", action="store_true", help="print the addresses and credentials as one JSON object")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when standard input is closed")
    return parser.parse_args(words)


def open_simulators(folder: Path) -> list[Simulator]:
    """Open every simulator on one state folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UnusableStateError(f"the state folder {folder} cannot be used: {problem.strerror}") from problem
    return [Mpay24(folder), Payone(folder), PaymentZ(folder), Computop(folder)]


def run(arguments: argparse.Namespace, folder: Path) -> int:
    """Serve until stopped; the exit status says whether it could start."""
    try:
        simulators = open_simulators(folder)
        sockets = open_sockets(folder, [simulator.name for simulator in simulators], arguments.ports, arguments.host)
    except (UnusableStateError, OSError) as problem:
        sys.stderr.write(f"sandbox: {problem}\n")
        return 2
    asyncio.run(serve(simulators, sockets, as_json=arguments.json, with_parent=arguments.exit_with_parent))
    return 0


def main(words: list[str] | None = None) -> int:
    """Run the command with these words, by default those it was started with."""
    arguments = read_arguments(sys.argv[1:] if words is None else words)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    if arguments.state_dir:
        return run(arguments, Path(arguments.state_dir))
    with tempfile.TemporaryDirectory(prefix="turnus-sandbox-") as folder:
        return run(arguments, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
