"""Requests are signed with v1HMAC, webhooks with the same hash over their body (reference sections 2 and 12)."""

import hmac
import re
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import unquote

AUTHORIZATION = re.compile(r"GCS v1HMAC:([^:\s]+):([A-Za-z0-9+/]+={0,2})")
DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
FOLD = re.compile(r"\r?\n\s*")

Headers = list[tuple[str, str]]


def mac(secret: str, data: bytes) -> str:
    """Hash with a secret, which is used as the text it is."""
    return b64encode(hmac.new(secret.encode(), data, sha256).digest()).decode()


def canonical(value: str) -> str:
    """Replace each line fold by one space and strip both ends; inner spaces stay."""
    return FOLD.sub(" ", value).strip()


def text_to_sign(method: str, content_type: str, date: str, headers: Headers, target: str) -> str:
    """Lay out what is signed: method, content type, date, the x-gcs headers by name, and the target."""
    own = sorted((name.lower(), canonical(value)) for name, value in headers if name.lower().startswith("x-gcs"))
    lines = [method.upper(), content_type, date, *(f"{name}:{value}" for name, value in own), target]
    return "".join(f"{line}\n" for line in lines)


def acceptable_texts(method: str, headers: Headers, target: str) -> list[str]:
    """Return every text that an official client could have signed.

    They differ in two ways: the target is signed as sent or percent-decoded,
    and with a GET some send a Content-Type that they do not sign.
    """
    found = dict(reversed(headers))
    kinds = [found.get("content-type", "")]
    if method.upper() == "GET":
        kinds = sorted({"", *kinds})
    date = found.get("date", "")
    return [text_to_sign(method, kind, date, headers, shape) for kind in kinds for shape in (target, unquote(target))]


def read_date(text: str) -> datetime | None:
    """Read the one form of date there is, ``Fri, 06 Jun 2014 13:39:43 GMT``."""
    if not DATE.fullmatch(text):
        return None
    try:
        return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None


def is_signed(secret: str, given: str, texts: list[str]) -> bool:
    """Say whether a signature is that of one of the texts."""
    return any(hmac.compare_digest(mac(secret, text.encode()), given) for text in texts)
