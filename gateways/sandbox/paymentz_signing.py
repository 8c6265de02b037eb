"""Checksums and tokens: MD5 of values joined by pipes, and a JSON web token in a header (reference sections 2, 3)."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import md5, sha256

from gateways.sandbox.paymentz_values import MEMBER_ID, SECRET_KEY

# What tokens are signed with is the provider's own secret, followed by how often all tokens were expired at once.
TOKEN_KEY = "sandbox-token-key"  # noqa: S105 - the simulator's own
HEADER = {"typ": "JWT", "alg": "HS256"}


def checksum(*values: str) -> str:
    """Join values by pipes and hash them as this wire does."""
    return md5("|".join(values).encode(), usedforsecurity=False).hexdigest()


def request_checksum(*subjects: str) -> str:
    """Make the checksum of a request about these subjects: the key comes second."""
    return checksum(MEMBER_ID, SECRET_KEY, *subjects)


def is_same(given: str, expected: str) -> bool:
    """Compare in constant time; the case of hexadecimal digits does not matter."""
    return hmac.compare_digest(given.lower().encode(), expected.encode())


def encoded(data: bytes) -> str:
    """Write bytes in the alphabet of addresses, without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """Read what `encoded` wrote; ValueError if it is something else."""
    return urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))


def signature(text: str, generation: int) -> str:
    """Sign the first two parts of a token."""
    return encoded(hmac.new(f"{TOKEN_KEY}-{generation}".encode(), text.encode(), sha256).digest())


def make_token(login: str, role: str, expires_at: int, generation: int) -> str:
    """Make a token with the claims that this platform's tokens have."""
    claims = {"sub": login, "role": role, "iss": "PZ", "exp": expires_at}
    text = ".".join(encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (HEADER, claims))
    return f"{text}.{signature(text, generation)}"


def expiry_of(token: str, generation: int) -> int:
    """Return when a token of ours expires, in seconds since 1970; 0 if it is none of ours."""
    text, _, signed = token.rpartition(".")
    if not hmac.compare_digest(signed.encode(), signature(text, generation).encode()):
        return 0
    return int(json.loads(decoded(text.partition(".")[2]))["exp"])
