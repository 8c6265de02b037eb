"""The envelope: key-value pairs encrypted into `Data`, and the MAC that proves the five fields that matter.

Encryption is no proof here: Blowfish runs without chaining, so blocks can be moved about. What proves a message on the
browser's way is its MAC, and that leaves out the amount (Computop, "Hash MAC-Authentication").
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import Blowfish
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.padding import PKCS7

from billing.gateway import MisuseError

CHARSET: Final = "iso-8859-1"
KEY_BYTES: Final[Mapping[str, frozenset[int]]] = {"blowfish": frozenset(range(4, 57)), "aes": frozenset({16, 24, 32})}
"""How long a password may be for each cipher."""

_DECIDING: Final = frozenset(
    """len data mid payid xid transid status code mac userdata
    laststatus amountauth amountcap amountcred currency""".split()
)
"""Names that must not say two things in one message; any other name is read where it comes first."""

_FORBIDDEN: Final = re.compile(r"[&\r\n\0]")
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_LENGTH: Final = re.compile(r"[0-9]{1,7}")


class UnreadableError(Exception):
    """A message that cannot be read whole, or that is not about what was asked."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The pairs of one message, by their names in lower case."""

    values: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return a value, empty where the message has none; the letter case of names says nothing."""
        return self.values.get(name.lower(), "")


def write(fields: Mapping[str, str]) -> str:
    """Join pairs with their values as they are, without empty ones; raise `MisuseError` for what would break them."""
    for name, value in fields.items():
        if _FORBIDDEN.search(value):
            raise MisuseError(f"{name} has an ampersand, a line break or a NUL in it")
    text = "&".join(f"{name}={value}" for name, value in fields.items() if value)
    try:
        text.encode(CHARSET)
    except UnicodeEncodeError:
        raise MisuseError("a plain value has a character that ISO-8859-1 lacks") from None
    return text


def read(text: str) -> Reply:
    """Split pairs at each `&` and then at the first `=` only, since Base64 ends in that."""
    values: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        name = name.strip().lower()
        if values.setdefault(name, value) != value and name in _DECIDING:
            raise UnreadableError(f"{name} is said twice")
    return Reply(values)


# --- encryption ("Create an API call and use encryption") ---------------------------------------------


def encrypt(cipher: str, password: bytes, text: str, iv: bytes = b"") -> tuple[int, str]:
    """Return the length of the plain text, and the text encrypted as Computop spells it; `iv` is for tests."""
    plain = text.encode(CHARSET)
    if cipher == "aes":
        return len(plain), _encrypt_aes(password, plain, iv or os.urandom(16))
    return len(plain), _blowfish_encryptor(password).update(plain + bytes(-len(plain) % 8)).hex().upper()


def decrypt(password: bytes, length: str, data: str) -> str:
    """Return the plain text, cut at its length; what fills the last block is never looked at.

    A hyphen in the data means AES, so answers are read while Computop switches an account over.
    """
    if not _LENGTH.fullmatch(length):
        raise UnreadableError("Len is no length")
    plain = _decrypt_aes(password, data) if "-" in data else _decrypt_blowfish(password, data)
    if int(length) > len(plain):
        raise UnreadableError("Data is shorter than Len")
    return plain[: int(length)].decode(CHARSET)


# Making a Blowfish key ready costs more than all else about a message. Without chaining a block leaves nothing behind
# for the next, so what was made ready once serves every message of whole blocks, and is never finished.
@lru_cache
def _blowfish_encryptor(password: bytes) -> CipherContext:
    return _blowfish(password).encryptor()


@lru_cache
def _blowfish_decryptor(password: bytes) -> CipherContext:
    return _blowfish(password).decryptor()


def _blowfish(password: bytes) -> Cipher[modes.ECB]:
    return Cipher(Blowfish(password), modes.ECB())  # noqa: S305 - the provider's choice; the MAC is what counts


def _encrypt_aes(password: bytes, plain: bytes, iv: bytes) -> str:
    padder = PKCS7(128).padder()
    encryptor = Cipher(AES(password), modes.CBC(iv)).encryptor()
    padded = padder.update(plain) + padder.finalize()
    return f"{iv.hex()}-{(encryptor.update(padded) + encryptor.finalize()).hex()}"


def _decrypt_blowfish(password: bytes, data: str) -> bytes:
    return _blowfish_decryptor(password).update(_blocks(data, 8))


def _decrypt_aes(password: bytes, data: str) -> bytes:
    iv, _, content = data.partition("-")
    if len(iv) != 32 or len(password) not in KEY_BYTES["aes"]:
        raise UnreadableError("Data is AES without a fitting key or start")
    decryptor = Cipher(AES(password), modes.CBC(_blocks(iv, 16))).decryptor()
    return decryptor.update(_blocks(content, 16)) + decryptor.finalize()


def _blocks(text: str, size: int) -> bytes:
    if not _HEX.fullmatch(text) or len(text) % (2 * size):
        raise UnreadableError("Data is no whole number of blocks in hex")
    return bytes.fromhex(text)


# --- one account's envelope ---------------------------------------------------------------------------


def mac(password: bytes, *fields: str) -> str:
    """Return the MAC over the fields as they stand in the message; one that is not there stays empty."""
    return hmac.new(password, "*".join(fields).encode(CHARSET), hashlib.sha256).hexdigest().upper()


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one account seals and opens messages with; `clean` masks what people must not read."""

    merchant_id: str
    cipher: str
    password: bytes = field(repr=False)
    hmac_password: bytes = field(repr=False)
    clean: Callable[[str], str]

    def seal(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return the three fields that travel: who we are in clear, and everything encrypted and signed."""
        whole = {"MerchantID": self.merchant_id, **fields, "MAC": self.sign(fields)}
        length, data = encrypt(self.cipher, self.password, write(whole))
        return {"MerchantID": self.merchant_id, "Len": str(length), "Data": data}

    def sign(self, fields: Mapping[str, str]) -> str:
        """Return the MAC of a request with these fields."""
        named = {"MerchantID": self.merchant_id, **fields}
        order = ("PayID", "TransID", "MerchantID", "Amount", "Currency")
        return mac(self.hmac_password, *(named.get(name, "") for name in order))

    def unseal(self, text: str, *, clear: bool = False) -> Reply:
        """Return what a message says about our own account; `clear` takes one that has nothing encrypted in it."""
        reply = read(text.strip())
        if "data" in reply.values:
            reply = read(decrypt(self.password, reply.text("Len"), reply.text("Data")))
        elif not clear:
            raise UnreadableError("nothing encrypted in it")
        if reply.text("mid") not in ("", self.merchant_id):
            raise UnreadableError("it is about another merchant")
        return Reply({**reply.values, "description": self.clean(reply.text("description"))[:200]})

    def proves(self, reply: Reply) -> bool:
        """Tell whether the MAC fits a message that came by the browser's way, in constant time."""
        names = ("PayID", "TransID", "mid", "Status", "Code")
        expected = mac(self.hmac_password, *(reply.text(name) for name in names))
        return hmac.compare_digest(expected.encode(), reply.text("MAC").rstrip().upper().encode())
