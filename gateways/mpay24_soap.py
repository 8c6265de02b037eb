"""The envelope: requests are built by zeep from the interface description, answers are read from the raw XML.

zeep must not be trusted with answers. A reordered or added element makes it fail, or silently lose fields, after the
money has moved; so an answer is read by local name, and one that cannot be read whole says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

import zeep
import zeep.exceptions
from lxml import etree

from billing.gateway import MisuseError, Refused, Unknown
from gateways.mpay24_codes import contradict
from gateways.transport import Answer

NAMESPACE: Final = "https://www.mpay24.com/soap/etp/1.5/ETP.wsdl"
_NO_APPLICATION: Final = frozenset({404, 405, 413, 415})
"""The front door's own refusals: behind them stands no application that could have booked anything."""


class UnreadableError(Exception):
    """An answer that is not whole, or contradicts itself."""


# --- requests -----------------------------------------------------------------


class _Packaged:
    """Loads the interface description from our own files; zeep gets no way to the network."""

    def load(self, url: str) -> bytes:
        """Return the packaged file with that name."""
        name = urlsplit(url).path.rpartition("/")[2]
        return files("gateways").joinpath("wsdl", name).read_bytes()


@cache
def _description() -> Any:
    """Return the interface, read once per process."""
    client: Any = zeep.Client
    return client("ETP.wsdl", transport=_Packaged())


def prepare() -> None:
    """Read the interface now, so that the first payment does not wait for it."""
    _description()


def typed(name: str, /, **members: object) -> object:
    """Return a value of one of the interface's types; a derived one announces itself by `xsi:type`."""
    return _description().get_type(f"{{{NAMESPACE}}}{name}")(**_given(members))


def encode(operation: str, /, **members: object) -> bytes:
    """Return the envelope for one call; raise `MisuseError` for what the interface cannot carry."""
    client = _description()
    try:
        envelope = client.create_message(client.service, operation, **_given(members))
    except (zeep.exceptions.Error, ValueError, TypeError) as error:
        raise MisuseError(f"{operation} cannot be written: {error}") from error
    return etree.tostring(envelope, xml_declaration=True, encoding="UTF-8")


def _given(members: dict[str, object]) -> dict[str, object]:
    """Leave out what is empty: mPAY24 wants an element absent, never nil."""
    return {name: value for name, value in members.items() if value not in (None, "")}


# --- answers --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """An element of an answer, read by local name; order and strangers do not matter."""

    element: etree._Element

    def parts(self, name: str) -> list[Part]:
        """Return the children with that name."""
        return [Part(child) for child in self.children() if _local(child) == name]

    def text(self, name: str) -> str:
        """Return the one child's text, empty if absent; raise `UnreadableError` if there are two or it is nested."""
        found = self.parts(name)
        if len(found) > 1 or any(len(part.element) for part in found):
            raise UnreadableError(f"{name} is not one plain value")
        return (found[0].element.text or "").strip() if found else ""

    def number(self, name: str) -> str:
        """Return the child's digits, empty if absent; raise `UnreadableError` for anything else."""
        text = self.text(name)
        if text and not (text.isascii() and text.isdigit()):
            raise UnreadableError(f"{name} is not a number")
        return text

    def children(self) -> Iterator[etree._Element]:
        """Return the child elements, and nothing else XML may hold."""
        return self.element.iterchildren(tag=etree.Element)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of an operation: whether it worked, and why."""

    ok: bool
    code: str
    part: Part


def read(operation: str, answer: Answer, clean: Callable[[str], str]) -> Reply | Refused | Unknown:
    """Read an answer whole, or say what its absence means.

    Only a server error that carries a `Client` fault proves that nothing was processed; a `401` is HTML and comes
    from the door, before the application (docs.mpay24.com/docs/soap-interface).
    """
    try:
        return _by_status(operation, answer)
    except UnreadableError as error:
        excerpt = _excerpt(clean(answer.body[:8192].decode(errors="replace")))
        return Unknown(f"mPAY24 gave an answer to {operation} that cannot be read: {clean(str(error))}: {excerpt}")


def _by_status(operation: str, answer: Answer) -> Reply | Refused | Unknown:
    if answer.status == 401:
        return Refused("401", "mPAY24 rejects the merchant id or its web-service password")
    if answer.status in _NO_APPLICATION:
        return Refused(str(answer.status), f"no mPAY24 service answers at this endpoint (HTTP {answer.status})")
    if answer.status not in (200, 500):
        raise UnreadableError(f"HTTP {answer.status}")
    body = _body(answer.body)
    if answer.status == 500:
        return _fault(body)
    if _local(body) != f"{operation}Response":
        raise UnreadableError(f"the answer is a {_local(body)}")
    return _reply(Part(body))


def _reply(part: Part) -> Reply:
    status, code = part.text("status"), part.text("returnCode")
    if status not in ("OK", "ERROR") or not code:
        raise UnreadableError("no status or return code")
    if contradict(status, code):
        raise UnreadableError(f"status {status} contradicts return code {code}")
    return Reply(status == "OK", code, part)


def _fault(body: etree._Element) -> Refused:
    """Return the refusal a `Client` fault stands for; any other fault leaves the outcome open."""
    fault = Part(body)
    code, text = fault.text("faultcode"), fault.text("faultstring")
    if _local(body) != "Fault" or code.rpartition(":")[2] != "Client":
        raise UnreadableError("HTTP 500")
    return Refused(code, f"mPAY24 could not read our request: {text}")


def _body(content: bytes) -> etree._Element:
    """Return what the envelope's body holds; entities and the network stay off."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UnreadableError(f"not XML: {error}") from error
    if b"<!DOCTYPE" in content or _local(root) != "Envelope":
        raise UnreadableError("not a SOAP envelope")
    return _only_child(_only(Part(root).parts("Body"), "Body"))


def _only_child(body: Part) -> etree._Element:
    return _only([Part(child) for child in body.children()], "answer").element


def _only(parts: list[Part], name: str) -> Part:
    if len(parts) != 1:
        raise UnreadableError(f"{len(parts)} of {name}")
    return parts[0]


def _local(element: etree._Element) -> str:
    return etree.QName(element).localname


def _excerpt(text: str) -> str:
    return " ".join(text.split())[:300]
