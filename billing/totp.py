"""Codes of an authenticator app (RFC 6238), each taken once, and codes for whoever has lost the app."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_S: Final = 30
DIGITS: Final = 6
_SECRET_BYTES: Final = 20
_STEPS_OFF: Final = (0, -1, 1)
"""A clock that is half a minute off is no reason to lock anybody out."""

_RECOVERY_CODES: Final = 10
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"


def new_secret() -> str:
    """Return a secret as apps want it typed: capital letters and digits."""
    return base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def step_of(secret: str, code: str, now: datetime, taken: int | None) -> int | None:
    """Return the time step whose code it is; nothing where it is none of now, or is no later than the last `taken`."""
    digits = code.replace(" ", "")
    if len(digits) != DIGITS or not digits.isascii():
        return None
    present = int(now.timestamp()) // STEP_S
    good = [step for step in (present + off for off in _STEPS_OFF) if _is_of(secret, digits, step)]
    return next((step for step in good if taken is None or step > taken), None)


def address_of(secret: str, account: str) -> str:
    """Return the `otpauth` address that apps read from a picture."""
    return _maker(secret).get_provisioning_uri(account, "Turnus")


def code_at(secret: str, now: datetime) -> str:
    """Return the code that an app shows at an instant."""
    return _maker(secret).generate(int(now.timestamp())).decode()


def new_recovery_codes() -> list[str]:
    """Return codes to keep on paper; each replaces the app once."""
    return [f"{_letters()}-{_letters()}" for _ in range(_RECOVERY_CODES)]


def digest_of(recovery_code: str) -> str:
    """Return what is stored of a recovery code: it is random and long, so that a digest cannot be guessed back."""
    letters = "".join(letter for letter in recovery_code.lower() if letter in _ALPHABET)
    return sha256(letters.encode()).hexdigest()


def _letters() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(8))


def _maker(secret: str) -> TOTP:
    return TOTP(base64.b32decode(secret), DIGITS, SHA1(), STEP_S)  # noqa: S303 - what every app computes


def _is_of(secret: str, digits: str, step: int) -> bool:
    try:
        _maker(secret).verify(digits.encode(), step * STEP_S)
    except InvalidToken:
        return False
    return True
