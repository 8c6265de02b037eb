"""Addresses that prove themselves: pay-links for customers, notification addresses for gateways."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from billing.gateway import ReturnUrls
from billing.vault import Vault

_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and checks addresses below the public one.

    A token is an id and a proof of it, so a link opens the one thing it names; it is not stored
    anywhere, and a forged or mistyped one is told apart from an old one.
    """

    vault: Vault
    public_url: str

    def token(self, link_id: int) -> str:
        """Return the token of a pay-link: 32 characters that fit into an address."""
        raw = link_id.to_bytes(_ID_BYTES) + self.vault.proof("pay-link", link_id)
        return _encode(raw)

    def read(self, token: str) -> int | None:
        """Return the id of the pay-link, or nothing if we never made the token."""
        raw = _decode(token)
        if len(raw) != _ID_BYTES + 16:
            return None
        link_id = int.from_bytes(raw[:_ID_BYTES])
        return link_id if self.vault.proves(raw[_ID_BYTES:], "pay-link", link_id) else None

    def pay(self, link_id: int) -> str:
        """Return the address that is mailed."""
        return f"{self.public_url}/p/{self.token(link_id)}"

    def returns(self, link_id: int) -> ReturnUrls:
        """Return the addresses a hosted page sends the customer back to; some gateways take none with a query."""
        base = f"{self.pay(link_id)}/back"
        return ReturnUrls(f"{base}/success", f"{base}/error", f"{base}/cancel")

    def notify(self, account_id: int, key: str) -> str:
        """Return the address a gateway reports an attempt to; it carries our proof of the attempt's key."""
        return f"{self.public_url}/n/{account_id}/{key}/{_encode(self.vault.proof('notify', account_id, key))}"

    def proves(self, account_id: int, key: str, proof: str) -> bool:
        """Answer whether the proof in a notification's address is ours."""
        return self.vault.proves(_decode(proof), "notify", account_id, key)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
