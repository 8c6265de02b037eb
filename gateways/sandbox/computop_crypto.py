"""Envelopes are opened and sealed, and messages authenticated (reference sections 2 and 3)."""

import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.decrepit.ciphers.algorithms import Blowfish
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.padding import PKCS7

from gateways.sandbox.computop_values import RefusalError

LENGTH = re.compile(r"[0-9]{1,7}")
HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
PAIR = re.compile(r"([A-Za-z][A-Za-z0-9_]*)=(.*)", re.DOTALL)
BLOWFISH_BLOCK, AES_BLOCK = 8, 16
NOT_DECRYPTABLE, IMPOSSIBLE_LENGTH = "40010007", "40010008"


@dataclass(slots=True, frozen=True)
class Account:
    """A merchant's credentials, as the gateway knows them."""

    merchant_id: str
    encryption_password: bytes
    hmac_password: bytes
    is_aes: bool
    # What fills up the last block of an answer in Blowfish.
    fill: bytes

    @property
    def block(self) -> int:
        """Return how many bytes the cipher takes at once."""
        return AES_BLOCK if self.is_aes else BLOWFISH_BLOCK

    def mac(self, *fields: str) -> str:
        """Authenticate fields; one that does not exist yet is empty."""
        return hmac.new(self.hmac_password, "*".join(fields).encode("latin-1"), hashlib.sha256).hexdigest().upper()


def seal(account: Account, pairs: dict[str, str]) -> tuple[str, str]:
    """Encrypt pairs and return Len and Data."""
    plain = "&".join(f"{name}={value}" for name, value in pairs.items()).encode("latin-1")
    return str(len(plain)), enciphered(account, plain)


def enciphered(account: Account, plain: bytes) -> str:
    """Write bytes as the account's cipher does; the vector of AES is new each time."""
    if account.is_aes:
        vector, padder = secrets.token_bytes(AES_BLOCK), PKCS7(8 * AES_BLOCK).padder()
        padded = padder.update(plain) + padder.finalize()
        return f"{vector.hex()}-{through(aes(account, vector).encryptor(), padded).hex()}"
    filled = plain + account.fill * (-len(plain) % BLOWFISH_BLOCK)
    return blowfish_encryptor(account.encryption_password).update(filled).hex().upper()


def unseal(account: Account, length: str, data: str) -> str:
    """Decrypt Data and cut it at Len, whatever it was filled up with: at most a block more than it needs."""
    if not LENGTH.fullmatch(length):
        raise RefusalError(IMPOSSIBLE_LENGTH)
    plain, count = deciphered(account, data), int(length)
    if not count <= len(plain) <= count + -count % account.block + account.block:
        raise RefusalError(IMPOSSIBLE_LENGTH)
    return plain[:count].decode("latin-1")


def deciphered(account: Account, data: str) -> bytes:
    """Read what the account's cipher wrote; what another wrote is not decryptable."""
    if not account.is_aes:
        return blowfish_decryptor(account.encryption_password).update(read_hex(data, BLOWFISH_BLOCK))
    vector, _, rest = data.partition("-")
    padded, unpadder = read_hex(rest, AES_BLOCK), PKCS7(8 * AES_BLOCK).unpadder()
    found = read_hex(vector, AES_BLOCK)
    if len(found) != AES_BLOCK:
        raise RefusalError(NOT_DECRYPTABLE)
    try:
        return unpadder.update(through(aes(account, found).decryptor(), padded)) + unpadder.finalize()
    except ValueError as problem:
        raise RefusalError(NOT_DECRYPTABLE) from problem


def read_hex(text: str, block: int) -> bytes:
    """Read hexadecimal digits of either case, in whole blocks."""
    if not HEX.fullmatch(text) or len(text) // 2 % block:
        raise RefusalError(NOT_DECRYPTABLE)
    return binascii.unhexlify(text)


def blowfish(password: bytes) -> Cipher[modes.ECB]:
    """Return the cipher that the provider prescribes to accounts that were not switched to AES."""
    return Cipher(Blowfish(password), modes.ECB())  # noqa: S305 - the provider's choice


@lru_cache
def blowfish_encryptor(password: bytes) -> CipherContext:
    """Make the cipher ready once; whole blocks leave nothing behind in it, so it is never finished."""
    return blowfish(password).encryptor()


@lru_cache
def blowfish_decryptor(password: bytes) -> CipherContext:
    """Make the cipher ready once, in the same way."""
    return blowfish(password).decryptor()


def aes(account: Account, vector: bytes) -> Cipher[modes.CBC]:
    """Return the cipher of a switched account; the password's length selects its strength."""
    return Cipher(AES(account.encryption_password), modes.CBC(vector))


def through(context: CipherContext, given: bytes) -> bytes:
    """Send bytes through a cipher."""
    return context.update(given) + context.finalize()


def read_pairs(text: str) -> list[tuple[str, str]]:
    """Split a plain text, values raw; what is not made of pairs came from another password."""
    found = [PAIR.fullmatch(part) for part in text.removesuffix("&").split("&")]
    pairs = [(match[1], match[2]) for match in found if match]
    if len(pairs) < len(found):
        raise RefusalError(NOT_DECRYPTABLE)
    return pairs
