"""Tell those who listen what happened: each endpoint by itself, so that none waits for another that is slow.

A delivery is claimed for a time, sent outside any transaction, and marked. Whoever dies in between leaves it to be sent
again, under the same name; whoever listens knows by that what it has heard already.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import ColumnElement, RowMapping, Select, Update, bindparam, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.events import FAILING_S_MAX, Verdict, judge
from billing.models import DeliveryState, EndpointState, Event, WebhookDelivery, WebhookEndpoint, table
from billing.services.context import Context
from billing.services.tasking import NewTask, raise_tasks
from billing.store import after_s
from billing.vault import VaultError
from billing.webhooks import Heard, sign

_endpoint, _event, _delivery = table(WebhookEndpoint), table(Event), table(WebhookDelivery)
_log = structlog.get_logger("turnus.webhooks")

LANES: Final = 16
"""So many endpoints are served at once."""

WIDTH: Final = 16
"""So many events are on their way to one endpoint at once."""

LOOK_AGAIN_S: Final = 1.0


class Sender(Protocol):
    """Brings a body to an address, once, and returns what was said there; it raises nothing."""

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Heard:
        """Send a body, once."""
        ...


async def announce(ctx: Context, sender: Sender) -> Counter[DeliveryState]:
    """Send all that is due, and return how many deliveries came to which state.

    While one endpoint takes its time, the others are looked at again and again, until this process is told to leave.
    """
    done: Counter[DeliveryState] = Counter()
    lanes: dict[int, asyncio.Task[Counter[DeliveryState]]] = {}
    try:
        while True:
            for endpoint_id in [] if ctx.leaving else await _due(ctx, lanes):
                lanes[endpoint_id] = asyncio.create_task(_serve(ctx, sender, endpoint_id))
            if not lanes:
                return done
            await asyncio.wait(lanes.values(), timeout=LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
            for endpoint_id in [id_ for id_, lane in lanes.items() if lane.done()]:
                done += lanes.pop(endpoint_id).result()
    finally:
        for lane in lanes.values():
            lane.cancel()
        await asyncio.gather(*lanes.values(), return_exceptions=True)


def body_of(event: RowMapping) -> str:
    """Return what is sent of an event: the same however often it is."""
    at = event["happened_at"].isoformat().replace("+00:00", "Z")
    return f'{{"type":"{event["type"]}","timestamp":"{at}","data":{event["data"]}}}'


async def _due(ctx: Context, served: Mapping[int, object]) -> list[int]:
    """Return the endpoints that something is due for and nobody here serves, those that wait longest first."""
    waiting = (_delivery.c.endpoint_id == _endpoint.c.id) & _is_due()
    since = select(func.min(_delivery.c.next_try_at)).where(waiting).correlate(_endpoint).scalar_subquery()
    query = select(_endpoint.c.id).where(_takes_some(), _endpoint.c.id.not_in(served), since.is_not(None))
    async with ctx.store.read() as session:
        return list((await session.execute(query.order_by(since).limit(LANES - len(served)))).scalars())


def _is_due() -> ColumnElement[bool]:
    return (_delivery.c.state == DeliveryState.QUEUED) & (_delivery.c.next_try_at <= after_s())


def _takes_some() -> ColumnElement[bool]:
    rested = or_(_endpoint.c.rest_until.is_(None), _endpoint.c.rest_until <= after_s())
    return (_endpoint.c.state == EndpointState.ENABLED) & rested


async def _serve(ctx: Context, sender: Sender, endpoint_id: int) -> Counter[DeliveryState]:
    """Send what is due for one endpoint, some at a time, until nothing is, it takes nothing, or we are to leave."""
    done: Counter[DeliveryState] = Counter()
    while not ctx.leaving and (claimed := await _claim(ctx, endpoint_id)):
        heard = await asyncio.gather(*(_send(ctx, sender, row) for row in claimed))
        done += await _mark(ctx, endpoint_id, list(zip(claimed, heard, strict=True)))
    return done


async def _claim(ctx: Context, endpoint_id: int) -> Sequence[RowMapping]:
    """Take some deliveries; the next try is the end of the lease, should we die before marking them."""
    async with ctx.store.write() as session:
        query = _facts().where(_delivery.c.endpoint_id == endpoint_id, _is_due(), _takes_some())
        query = query.order_by(_delivery.c.next_try_at, _delivery.c.id).limit(WIDTH)
        rows: Sequence[RowMapping] = (await session.execute(ctx.store.claim(query, _delivery))).mappings().all()
        if rows:
            mine = _delivery.c.id.in_([row["id"] for row in rows])
            lease: dict[str, Any] = {"next_try_at": after_s(ctx.lease_s), "tries": _delivery.c.tries + 1}
            await session.execute(update(_delivery).where(mine).values(**lease, tried_at=after_s()))
        return rows


def _facts() -> Select[Any]:
    """Select deliveries with all that sending one needs; a secret that was replaced signs until its time is over."""
    still_signs = case((_endpoint.c.old_secret_until > after_s(), _endpoint.c.sealed_old_secret), else_=None)
    return (
        select(
            _delivery.c.id,
            _delivery.c.tries,
            _event.c.uid,
            _event.c.merchant_id,
            _event.c.type,
            _event.c.data,
            _event.c.happened_at,
            _endpoint.c.url,
            _endpoint.c.sealed_secret,
            still_signs.label("sealed_old_secret"),
        )
        .join_from(_delivery, _event, _event.c.id == _delivery.c.event_id)
        .join(_endpoint, _endpoint.c.id == _delivery.c.endpoint_id)
    )


async def _send(ctx: Context, sender: Sender, row: RowMapping) -> Heard:
    body = body_of(row)
    sealed = [row["sealed_secret"], row["sealed_old_secret"]]
    try:
        keys = [ctx.vault.unseal(each) for each in sealed if each is not None]
    except VaultError:  # one endpoint that cannot be told must not hold up the others
        return Heard(None, "its secret was sealed with another TURNUS_SECRET_KEY")
    return await sender.send(row["url"], sign(keys, row["uid"], ctx.clock.now(), body), body)


# --- what became of it ------------------------------------------------------

_Tried = tuple[RowMapping, Heard, Verdict]


async def _mark(ctx: Context, endpoint_id: int, heard: Sequence[tuple[RowMapping, Heard]]) -> Counter[DeliveryState]:
    """Write what became of some deliveries and what that says of their endpoint; one given up is a person's task."""
    tried = [(row, said, judge(said.status, row["tries"] + 1, said.retry_after_s)) for row, said in heard]
    async with ctx.store.write() as session:
        await _note_health(ctx, session, endpoint_id, tried)
        await session.execute(_marked(), [_mark_of(*each) for each in tried])
        given_up = [each for each in tried if _state_after(each[2]) == DeliveryState.FAILED]
        await raise_tasks(session, [_task(row, said) for row, said, _ in given_up], ctx.clock.now())
    for row, said, _ in tried:
        _log.info("told", name=row["uid"], endpoint=f"hook_{endpoint_id}", status=said.status)
    return Counter(_state_after(verdict) for _, _, verdict in tried)


def _state_after(verdict: Verdict) -> DeliveryState:
    if verdict.delivered:
        return DeliveryState.DELIVERED
    return DeliveryState.FAILED if verdict.wait_s is None else DeliveryState.QUEUED


def _marked() -> Update:
    """Change a delivery that is still claimed by us: whoever took it over, or sends it anew, knows better."""
    ours = (_delivery.c.id == bindparam("b_id")) & (_delivery.c.tries == bindparam("b_tries"))
    still = ours & (_delivery.c.state == DeliveryState.QUEUED)
    state = bindparam("b_state", type_=_delivery.c.state.type)
    return (
        update(_delivery)
        .where(still)
        .values(
            state=state,
            status=bindparam("b_status"),
            answer=bindparam("b_answer"),
            next_try_at=after_s(bindparam("b_wait_s")),
            delivered_at=case((state == DeliveryState.DELIVERED, after_s()), else_=None),
        )
    )


def _mark_of(row: RowMapping, said: Heard, verdict: Verdict) -> dict[str, Any]:
    return {
        "b_id": row["id"],
        "b_tries": row["tries"] + 1,
        "b_state": _state_after(verdict),
        "b_status": said.status,
        "b_answer": said.text,
        "b_wait_s": verdict.wait_s or 0,
    }


def _task(row: RowMapping, said: Heard) -> NewTask:
    tries = f"{row['type']} was not taken in {row['tries'] + 1} tries"
    return NewTask(row["merchant_id"], "webhook_event", row["uid"], f"{tries}, the last answer: {_words(said)}")


def _words(said: Heard) -> str:
    return f"{said.status or 'none'} {said.text}".strip()


async def _note_health(ctx: Context, session: AsyncSession, endpoint_id: int, tried: Sequence[_Tried]) -> None:
    """Let an endpoint rest that takes nothing now, and switch one off that takes nothing for days or wants no more."""
    mine = (_endpoint.c.id == endpoint_id) & (_endpoint.c.state == EndpointState.ENABLED)
    rest_s = max(verdict.rest_s for _, _, verdict in tried)
    takes = any(verdict.delivered for _, _, verdict in tried)
    if takes and not rest_s:  # as almost always: an endpoint that was well already is not written to
        mine &= or_(_endpoint.c.failing_since.is_not(None), _endpoint.c.rest_until.is_not(None))
    since = None if takes else func.coalesce(_endpoint.c.failing_since, after_s())
    health = update(_endpoint).where(mine).values(failing_since=since, rest_until=after_s(rest_s) if rest_s else None)
    for_days = (_endpoint.c.failing_since < after_s(-FAILING_S_MAX)).label("for_days")
    is_lost = (await session.execute(health.returning(for_days))).scalar()
    gone = next((said for _, said, verdict in tried if verdict.gone), None)
    if is_lost or gone is not None:
        row, said, _ = tried[-1]
        reason = "it answered that it is gone (410)" if gone else f"it took nothing for days: {_words(said)}"
        await _switch_off(ctx, session, row["merchant_id"], endpoint_id, reason)


async def _switch_off(ctx: Context, session: AsyncSession, merchant_id: int, endpoint_id: int, reason: str) -> None:
    mine = (_endpoint.c.id == endpoint_id) & (_endpoint.c.state == EndpointState.ENABLED)
    off = update(_endpoint).where(mine).values(state=EndpointState.FAILED, reason=reason)
    if (await session.execute(off.returning(_endpoint.c.id))).scalar() is not None:
        await raise_tasks(session, [NewTask(merchant_id, "webhook", f"hook_{endpoint_id}", reason)], ctx.clock.now())
