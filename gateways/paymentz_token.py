"""The token every call carries: fetched once for all who need it, renewed before it expires, and never shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from billing.gateway import NotSent, Refused
from gateways.paymentz_settings import Settings
from gateways.paymentz_wire import Fields, Reply, Wire

BASE: Final = "/transactionServices/REST/v1"
REGENERATE: Final = "/fraudServices/REST/v1/regenerateToken"


class Tokens:
    """One account's token. `monotonic` counts seconds; the token's own times are zone-less, so its age is measured."""

    def __init__(self, wire: Wire, settings: Settings, monotonic: Callable[[], float]) -> None:
        self.member_id = ""
        self._wire = wire
        self._settings = settings
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._token = ""
        self._fetched_at_s = 0.0
        self._fetches = 0
        self._last: str | Refused | NotSent = ""

    async def get(self, rejected: str = "") -> str | Refused | NotSent:
        """Return a token that is not the rejected one, or why there is none; nothing else has been sent then.

        Whoever came while a token was being fetched shares what came of it, also a failure.
        """
        came_at = self._fetches
        async with self._lock:
            if self._is_fresh() and self._token != rejected:
                return self._token
            if self._fetches == came_at:
                self._last = await self._fetch(renew=not rejected)
                self._fetches += 1
            return self._last

    def drop(self, token: str = "") -> None:
        """Forget the token, if it still is this one."""
        if token in ("", self._token):
            self._token = ""

    def _is_fresh(self) -> bool:
        lasts_s = self._settings.token_ttl_s - self._settings.token_refresh_margin_s
        return bool(self._token) and self._age_s() < lasts_s

    def _age_s(self) -> float:
        return self._monotonic() - self._fetched_at_s

    async def _fetch(self, *, renew: bool) -> str | Refused | NotSent:
        """Fetch a token within half of a call's time, so that the call itself still has time for its answer."""
        try:
            async with asyncio.timeout(self._settings.timeout_s / 2):
                old = self._token if renew and self._settings.use_regenerate else ""
                return (await self._renew(old) if old else None) or await self._log_in()
        except TimeoutError:
            return NotSent("PaymentZ gave no token in time")

    async def _renew(self, old: str) -> str | None:
        fields = {"authentication.partnerId": self._settings.partner_id, "authToken": old}
        reply = await self._wire.post(REGENERATE, fields)
        return self._taken(reply) if isinstance(reply, Reply) else None

    async def _log_in(self) -> str | Refused | NotSent:
        reply = await self._wire.post(f"{BASE}/authToken", self._login())
        if not isinstance(reply, Reply):
            return NotSent(f"PaymentZ gave no token: {reply.reason}")
        return self._taken(reply) or _without(reply)

    def _login(self) -> Fields:
        return {
            "authentication.partnerId": self._settings.partner_id,
            "merchant.username": self._settings.username,
            "authentication.sKey": self._settings.secret_key,
        }

    def _taken(self, reply: Reply) -> str | None:
        """Keep the token of an answer, if one is there that a header can carry."""
        token = reply.told["AuthToken"]
        if reply.status != 200 or not (token.isascii() and token.isprintable()) or not token.strip():
            return None
        self._token, self._fetched_at_s, self.member_id = token, self._monotonic(), reply.told["memberId"]
        return token


def _without(reply: Reply) -> Refused | NotSent:
    """Tell a rejection of our credentials from an answer that is none."""
    if reply.is_rejected_token:
        return Refused("401", f"PaymentZ rejects partner_id, username or secret_key: {reply.said}")
    return NotSent(f"PaymentZ gave no token: {reply.unreadable or reply.said}")
