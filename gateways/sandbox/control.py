"""The tester's side of a simulator: what was booked, what shall go wrong, and time made to pass."""

import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gateways.sandbox.faults import BadRuleError, Faults
from gateways.sandbox.knobs import BadSettingError, Knobs
from gateways.sandbox.ledger import Booking, Ledger, utc_text

EXCHANGES_KEPT = 1000


class BadInputError(ValueError):
    """The tester sent something unusable; the message is one sentence and nothing was changed."""


class IllegalMoveError(Exception):
    """The transaction cannot be moved there; the message is one sentence and nothing was changed."""


class ExchangeLog:
    """The last calls, by operation, reference and result; never what they carried."""

    def __init__(self) -> None:
        self._kept: deque[dict[str, object]] = deque(maxlen=EXCHANGES_KEPT)

    def note(self, operation: str, reference: str, result: str) -> None:
        """Remember one call."""
        self._kept.append({"at": utc_text(), "operation": operation, "reference": reference, "result": result})

    def shown(self) -> list[dict[str, object]]:
        """Return what is remembered, oldest first."""
        return list(self._kept)

    def clear(self) -> None:
        """Forget all of it."""
        self._kept.clear()


class Simulator(Protocol):
    """What every simulator offers to the tester."""

    name: str
    # What test profiles are asked for by, and where below ``/_sandbox`` time is made to pass.
    profile_key: str
    moves_path: str
    ledger: Ledger
    faults: Faults
    knobs: Knobs
    log: ExchangeLog

    def routes(self) -> list[Route]:
        """Return the addresses of the provider's own wire."""

    def credentials(self, base_url: str) -> dict[str, str]:
        """Return what a merchant needs to know to use this simulator."""

    def use_base_url(self, base_url: str) -> None:
        """Say under which address the simulator is reached; called once, before the first request."""

    async def start(self) -> None:
        """Take up what an earlier life still owed."""

    async def stop(self) -> None:
        """Let go of everything."""

    def reset(self) -> None:
        """Empty ledger, profiles, pages, faults and log; settings stay."""

    def store_profiles(self, sent: list[Any]) -> int | list[dict[str, object]]:
        """Store test profiles and say how many, or by which references the provider lets each be charged."""

    def shown_profiles(self, wanted: str) -> list[dict[str, object]]:
        """Return the profiles of one key, masked."""

    def shown_bookings(self, rows: list[Booking]) -> list[dict[str, object]]:
        """Give rows of the ledger, with whatever else this wire lets auditors match."""

    def move(self, gateway_id: str, state: str) -> dict[str, object]:
        """Make time pass for one transaction; LookupError if there is none, IllegalMoveError if it cannot go there."""

    def shown_log(self) -> dict[str, object]:
        """Return the last exchanges and what else is worth watching."""


def complaint(status: int, sentence: str) -> JSONResponse:
    """Answer a tester's mistake with one sentence."""
    return JSONResponse({"error": sentence}, status)


async def read_json(request: Request) -> Any:
    """Read a request's JSON, or raise with one sentence."""
    try:
        return json.loads(await request.body())
    except ValueError as problem:
        raise BadInputError("the body is not JSON") from problem


async def ledger_text(simulator: Simulator) -> AsyncIterator[str]:
    """Write the ledger as one JSON object, a page at a time, letting other calls pass in between."""
    yield '{"transactions": ['
    comma = ""
    for page in simulator.ledger.pages():
        yield comma + ",".join(json.dumps(shown) for shown in simulator.shown_bookings(page))
        comma = ","
    yield "]}"


class Control:
    """The addresses below ``/_sandbox`` of one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def routes(self) -> list[Route]:
        """Return the control addresses."""
        return [
            Route("/_sandbox/ledger", self.ledger, methods=["GET"]),
            Route("/_sandbox/faults", self.faults, methods=["GET", "POST"]),
            Route("/_sandbox/reset", self.reset, methods=["POST"]),
            Route("/_sandbox/profiles", self.profiles, methods=["GET", "POST"]),
            Route("/_sandbox/settings", self.settings, methods=["GET", "PUT"]),
            Route("/_sandbox/log", self.log, methods=["GET"]),
            Route(f"/_sandbox/{self._simulator.moves_path}/{{gateway_id}}/move", self.move, methods=["POST"]),
        ]

    async def ledger(self, _request: Request) -> Response:
        """Show every booking, oldest first."""
        return StreamingResponse(ledger_text(self._simulator), media_type="application/json")

    async def faults(self, request: Request) -> Response:
        """Set the rules, or show what is left of them."""
        if request.method == "POST":
            return await self._change(request, self._simulator.faults.replace, self._shown_faults)
        return self._shown_faults()

    def _shown_faults(self) -> Response:
        return JSONResponse(self._simulator.faults.left())

    async def settings(self, request: Request) -> Response:
        """Change settings, or show all of them."""
        if request.method == "PUT":
            return await self._change(request, self._simulator.knobs.change, self._shown_settings)
        return self._shown_settings()

    def _shown_settings(self) -> Response:
        return JSONResponse(self._simulator.knobs.all())

    async def _change(self, request: Request, change: Callable[[Any], None], shown: Callable[[], Response]) -> Response:
        try:
            change(await read_json(request))
        except (BadInputError, BadRuleError, BadSettingError) as problem:
            return complaint(400, str(problem))
        return shown()

    async def reset(self, _request: Request) -> Response:
        """Empty the simulator."""
        self._simulator.reset()
        return JSONResponse({"reset": self._simulator.name})

    async def profiles(self, request: Request) -> Response:
        """Store test profiles, or show those of one customer."""
        if request.method == "GET":
            wanted = request.query_params.get(self._simulator.profile_key, "")
            return JSONResponse({"profiles": self._simulator.shown_profiles(wanted)})
        try:
            sent = await read_json(request)
            if not isinstance(sent, list):
                return complaint(400, "profiles are one JSON list")
            stored = self._simulator.store_profiles(sent)
            if isinstance(stored, int):
                return JSONResponse({"stored": stored})
            return JSONResponse({"stored": len(stored), "profiles": stored})
        except BadInputError as problem:
            return complaint(400, str(problem))

    async def log(self, _request: Request) -> Response:
        """Show the last exchanges."""
        return JSONResponse(self._simulator.shown_log())

    async def move(self, request: Request) -> Response:
        """Move one transaction as the provider would, later."""
        try:
            sent = await read_json(request)
            if not isinstance(sent, dict) or not isinstance(sent.get("state"), str):
                return complaint(400, 'a move is a JSON object with a "state"')
            return JSONResponse(self._simulator.move(request.path_params["gateway_id"], sent["state"]))
        except BadInputError as problem:
            return complaint(400, str(problem))
        except LookupError:
            return complaint(404, "there is no such transaction")
        except IllegalMoveError as problem:
            return complaint(409, str(problem))
