"""Checksums: MD5 over values joined with a pipe, whose order differs by message (reference, section 3).

The secret key stands second in what we ask by REST, but last in payouts, hosted-page forms and callbacks.
"""

from __future__ import annotations

import hashlib
import hmac


def request(member_id: str, secret_key: str, *subject: str) -> str:
    """Return the checksum of a REST request about the subject."""
    return _digest(member_id, secret_key, *subject)


def closing(secret_key: str, *values: str) -> str:
    """Return the checksum of a message whose last value is the key."""
    return _digest(*values, secret_key)


def is_same(expected: str, claimed: str) -> bool:
    """Compare two checksums without telling by the time it takes how much of them fits."""
    return hmac.compare_digest(expected.encode(), claimed.lower().encode())


def _digest(*values: str) -> str:
    # The wire knows nothing better than MD5; that it is weak is answered by asking about whatever it signs.
    return hashlib.md5("|".join(values).encode(), usedforsecurity=False).hexdigest()
