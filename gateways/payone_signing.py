"""Signatures both ways: v1HMAC over what we ask, HMAC-SHA256 over what PAYONE reports.

The secret is used as the text it is, never decoded first, and a body we send is not part of its signature
(docs.direct.worldline-solutions.com, "Manual authentication").
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

_FOLD: Final = re.compile(r"\r?\n\s*")


def http_date(now: datetime) -> str:
    """Write an aware instant as a `Date` header has it, in GMT and English."""
    return format_datetime(now.astimezone(UTC), usegmt=True)


def data_to_sign(method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return the text a request's signature is over; `target` is its path and query as sent."""
    named = {name.lower(): _canonical(value) for name, value in headers.items()}
    own = [f"{name}:{value}" for name, value in sorted(named.items()) if name.startswith("x-gcs")]
    return "\n".join([method.upper(), named.get("content-type", ""), named["date"], *own, target, ""])


def authorization(key_id: str, secret: str, method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return the `Authorization` header that proves these headers and this target are ours."""
    return f"GCS v1HMAC:{key_id}:{signature(secret, data_to_sign(method, target, headers).encode())}"


def signature(secret: str, data: bytes) -> str:
    """Return the base64 of the HMAC-SHA256 of the data."""
    return b64encode(hmac.digest(secret.encode(), data, "sha256")).decode()


def is_signed(secret: str, data: bytes, claimed: str) -> bool:
    """Tell in constant time whether the claimed signature is the one this secret gives."""
    return hmac.compare_digest(signature(secret, data).encode(), claimed.encode(errors="replace"))


def _canonical(value: str) -> str:
    """Unfold a header's value and strip its ends; spaces within it stay."""
    return _FOLD.sub(" ", value).strip()
