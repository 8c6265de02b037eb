"""Secrets at rest and proofs in addresses, all from the one secret key of the installation."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE = 12
KEY_CHARS_MIN = 32


class VaultError(ValueError):
    """A secret key that is too short, or sealed text that this key did not seal."""


class Vault:
    """Seals what must not lie in clear, and proves that an address was made by us.

    Each use has a key of its own, derived from the secret key, so that a proof made for one
    purpose is worth nothing for another.
    """

    def __init__(self, secret_key: str) -> None:
        if len(secret_key) < KEY_CHARS_MIN:
            raise VaultError(f"TURNUS_SECRET_KEY needs at least {KEY_CHARS_MIN} characters")
        self._secret = secret_key.encode()
        self._cipher = AESGCM(self._derive("seal"))
        self._mac_key = self._derive("proof")

    def seal(self, text: str) -> str:
        """Encrypt and authenticate a text, for a column."""
        nonce = secrets.token_bytes(_NONCE)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, text.encode(), None)).decode()

    def unseal(self, sealed: str) -> str:
        """Return the text; raise `VaultError` if it was sealed with another key or changed since."""
        raw = base64.b64decode(sealed)
        try:
            return self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], None).decode()
        except InvalidTag:
            raise VaultError("TURNUS_SECRET_KEY is not the one this database was written with") from None

    def proof(self, purpose: str, *parts: str | int) -> bytes:
        """Return 16 bytes that only this installation can make for these parts."""
        message = "\0".join([purpose, *map(str, parts)]).encode()
        return hmac.digest(self._mac_key, message, hashlib.sha256)[:16]

    def digest(self, purpose: str, *parts: str | int) -> str:
        """Return a name under which a secret text can be found again without being stored."""
        return self.proof(purpose, *parts).hex()

    def _derive(self, purpose: str) -> bytes:
        return HKDF(SHA256(), length=32, salt=None, info=f"turnus {purpose}".encode()).derive(self._secret)
