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
_NAME_BYTES = 4
KEY_CHARS_MIN = 32


class VaultError(ValueError):
    """A secret key that cannot be used, or sealed text that no key we have has sealed."""


class _Keys:
    """The keys of all uses, derived from one secret key, and the name that texts bear which they sealed."""

    def __init__(self, secret_key: str, setting: str) -> None:
        if len(secret_key) < KEY_CHARS_MIN:
            raise VaultError(f"{setting} needs at least {KEY_CHARS_MIN} characters")
        self._secret = secret_key.encode()
        self._cipher = AESGCM(self._derive("seal"))
        self._mac_key = self._derive("proof")
        self.name = self._derive("name")[:_NAME_BYTES].hex()

    def seal(self, text: str) -> str:
        nonce = secrets.token_bytes(_NONCE)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, text.encode(), None)).decode()

    def unseal(self, sealed: str) -> str | None:
        try:
            raw = base64.b64decode(sealed)
            return self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], None).decode()
        except (InvalidTag, ValueError):
            return None

    def proof(self, message: bytes) -> bytes:
        return hmac.digest(self._mac_key, message, hashlib.sha256)[:16]

    def _derive(self, purpose: str) -> bytes:
        return HKDF(SHA256(), length=32, salt=None, info=f"turnus {purpose}".encode()).derive(self._secret)


class Vault:
    """Seals what must not lie in clear, and proves that an address was made by us.

    Each use has a key of its own, derived from the secret key, so that a proof made for one purpose is worth
    nothing for another. While the secret key is being exchanged, what the former one sealed and proved is good as well.
    """

    def __init__(self, secret_key: str, former_key: str = "") -> None:
        if former_key == secret_key:
            raise VaultError(
                "TURNUS_SECRET_KEY_OLD is the same as TURNUS_SECRET_KEY; it is the one that was used before"
            )
        self._keys = [_Keys(secret_key, "TURNUS_SECRET_KEY")]
        if former_key:
            self._keys.append(_Keys(former_key, "TURNUS_SECRET_KEY_OLD"))

    @property
    def is_rotating(self) -> bool:
        """Whether there is a former key beside the one that seals."""
        return len(self._keys) > 1

    @property
    def mark(self) -> str:
        """What every text begins with that is sealed with the key of now."""
        return f"{self._keys[0].name}."

    def seal(self, text: str) -> str:
        """Encrypt and authenticate a text, for a column whose name begins with `sealed_`."""
        return self.mark + self._keys[0].seal(text)

    def unseal(self, sealed: str) -> str:
        """Return the text; raise `VaultError` if no key of ours has sealed it, or it was changed since.

        The first texts of all bear no name of their key.
        """
        name, _, text = sealed.rpartition(".")
        for keys in self._keys:
            if name in ("", keys.name) and (found := keys.unseal(text)) is not None:
                return found
        if self.is_rotating:
            raise VaultError(
                "neither TURNUS_SECRET_KEY nor TURNUS_SECRET_KEY_OLD is what this database was written with"
            )
        raise VaultError("TURNUS_SECRET_KEY is not the one this database was written with")

    def proof(self, purpose: str, *parts: str | int) -> bytes:
        """Return 16 bytes that only this installation can make for these parts."""
        return self._proofs(purpose, *parts)[0]

    def proves(self, proof: bytes, purpose: str, *parts: str | int) -> bool:
        """Answer whether the proof is one that this installation made for these parts."""
        return any(hmac.compare_digest(proof, ours) for ours in self._proofs(purpose, *parts))

    def digests(self, purpose: str, *parts: str | int) -> tuple[str, ...]:
        """Return the names under which a secret text can be found without being stored; the first is that of now."""
        return tuple(proof.hex() for proof in self._proofs(purpose, *parts))

    def digest(self, purpose: str, *parts: str | int) -> str:
        """Return the name under which a secret text is stored from now on."""
        return self.proof(purpose, *parts).hex()

    def _proofs(self, purpose: str, *parts: str | int) -> list[bytes]:
        message = "\0".join([purpose, *map(str, parts)]).encode()
        return [keys.proof(message) for keys in self._keys]
