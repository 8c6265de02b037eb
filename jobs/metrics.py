"""Figures for Prometheus: what this process counted, and what the database says whenever somebody asks."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from billing.gateway import Gateway
from billing.meters import Meters
from billing.services.context import Context
from billing.web.requests import Served
from jobs.gauges import Reading, read_accounts, read_gauges

SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
VERBS: Final = frozenset(
    "charge charge_present open_checkout open_card_form find capture reverse refund pay_out forget check".split()
)


class Metrics(Meters):
    """Counts in this process's memory; what a process counted ends with it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.attempts: Counts[tuple[int, str]] = Counts()
        self._notifications = self._counter("notifications", "Notifications by what became of them.", "verdict")
        self._mails = self._counter("mails", "Mails by the state that trying them led to.", "state")
        self._runs = self._counter("runs", "Runs that this process worked on, by the state it left them in.", "state")
        self._requests = self._histogram("http_request", "Requests by route and status.", "method", "route", "status")
        self._gateway = self._histogram(
            "gateway", "Calls of gateways and what they led to.", "gateway", "verb", "outcome"
        )

    def attempt(self, account_id: int, state: str) -> None:
        """Count an attempt."""
        self.attempts[account_id, state] += 1

    def notification(self, verdict: str) -> None:
        """Count a notification."""
        self._notifications.labels(verdict).inc()

    def mail(self, state: str) -> None:
        """Count a mail."""
        self._mails.labels(state).inc()

    def run(self, state: str) -> None:
        """Count a run."""
        self._runs.labels(state).inc()

    def request(self, served: Served) -> None:
        """Count a request of the web."""
        self._requests.labels(served.method, served.route, str(served.status)).observe(served.seconds)

    def called(self, gateway: str, verb: str, outcome: str, seconds: float) -> None:
        """Count a call of a gateway."""
        self._gateway.labels(gateway, verb, outcome).observe(seconds)

    def _counter(self, name: str, about: str, label: str) -> Counter:
        return Counter(f"turnus_{name}", about, [label], registry=self.registry)

    def _histogram(self, name: str, about: str, *labels: str) -> Histogram:
        return Histogram(f"turnus_{name}_seconds", about, labels, registry=self.registry, buckets=SECONDS)


class _Timed:
    """A gateway that is another one, with a watch in its hand."""

    def __init__(self, gateway: Gateway, name: str, metrics: Metrics) -> None:
        self._gateway, self._name, self._metrics = gateway, name, metrics

    def __getattr__(self, verb: str) -> Any:
        """Return the gateway's own, timed where it goes over the network."""
        own = getattr(self._gateway, verb)
        if verb not in VERBS:
            return own

        async def timed(*given: Any, **named: Any) -> Any:
            begun, outcome = monotonic(), "raised"
            try:
                answer = await own(*given, **named)
                outcome = type(answer).__name__
                return answer
            finally:
                self._metrics.called(self._name, verb, outcome, monotonic() - begun)

        return timed


def timed(gateway: Gateway, name: str, metrics: Metrics) -> Gateway:
    """Return the gateway, each of whose calls is counted and timed."""
    return cast(Gateway, _Timed(gateway, name, metrics))


class _Read(Collector):
    """What was read from the database and is known of accounts, in the shape that Prometheus wants."""

    def __init__(
        self,
        readings: list[Reading],
        attempts: Mapping[tuple[int, str], int],
        limits: Mapping[int, int],
        accounts: Mapping[int, str],
    ) -> None:
        self._readings, self._attempts, self._limits, self._accounts = readings, attempts, limits, accounts

    def collect(self) -> Iterator[Metric]:
        """Yield every figure."""
        yield self._by_account()
        yield self._paces()
        for reading in self._readings:
            family = GaugeMetricFamily(f"turnus_{reading.name}", reading.about, labels=reading.labels)
            for labels, value in reading.values:
                family.add_metric(labels, value)
            yield family

    def _by_account(self) -> Metric:
        family = CounterMetricFamily("turnus_attempts", "Attempts by account and state.", labels=["account", "state"])
        for (account_id, state), count in sorted(self._attempts.items()):
            family.add_metric([self._accounts.get(account_id, str(account_id)), state], count)
        return family

    def _paces(self) -> Metric:
        about = "Requests that may be under way now at an account, as this process found out."
        family = GaugeMetricFamily("turnus_in_flight_limit", about, labels=["account"])
        for account_id, limit in sorted(self._limits.items()):
            family.add_metric([self._accounts.get(account_id, str(account_id))], limit)
        return family


async def scrape(ctx: Context, metrics: Metrics) -> bytes:
    """Return all figures as text."""
    async with ctx.store.read() as session:
        readings, accounts = await read_gauges(session), await read_accounts(session)
    of_database = CollectorRegistry()
    of_database.register(_Read(readings, metrics.attempts, ctx.gateways.limits(), accounts))
    return generate_latest(metrics.registry) + generate_latest(of_database)


def metrics_app(ctx: Context, metrics: Metrics) -> Starlette:
    """Return what answers `/metrics`, for an address of its own that the public does not reach."""

    async def show(_: Request) -> Response:
        return Response(await scrape(ctx, metrics), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", show)])
