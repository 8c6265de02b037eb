"""A simulator as a real process, and the few words needed to talk to it by hand."""

import json
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import httpx
from lxml import etree

ENVELOPE = (
    '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:etp="https://www.mpay24.com/soap/etp/1.5/ETP.wsdl">'
    "<SOAP-ENV:Body>{}</SOAP-ENV:Body></SOAP-ENV:Envelope>"
)
MONEY = "<amount>2500</amount><currency>EUR</currency>"
VISA = "4444333322221111"
ROOT = Path(__file__).parents[2]
START_S = 60.0


def eventually(check: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return what the check returns once it is true; fail if it never is."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return found


@dataclass
class Said:
    """One answer of the SOAP endpoint."""

    http: int
    raw: str

    @property
    def body(self) -> etree._Element:
        envelope = etree.fromstring(self.raw.encode())
        return envelope[0][0]

    def names(self) -> list[str]:
        return [str(child.tag) for child in self.body]

    def text(self, path: str) -> str | None:
        return self.body.findtext(path)

    @property
    def code(self) -> str:
        return f"{self.text('status')} {self.text('returnCode')}"

    @property
    def mpay_tid(self) -> int:
        return int(self.text("mpayTID") or 0)

    @property
    def location(self) -> str:
        return self.text("location") or ""

    @property
    def fault(self) -> tuple[str | None, str | None]:
        return self.text("faultcode"), self.text("faultstring")

    def parameters(self) -> dict[str, str]:
        return {p.findtext("name") or "": p.findtext("value") or "" for p in self.body.findall("parameter")}


class Sandbox:
    """A running simulator process."""

    def __init__(self, folder: Path, *words: str) -> None:
        command = [sys.executable, "-m", "gateways.sandbox", "--json", "--exit-with-parent", "--state-dir", str(folder)]
        self.process = subprocess.Popen(
            [*command, *words], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], START_S)[0], "it did not start"
        self.told: dict[str, Any] = json.loads(self.process.stdout.readline())["gateways"]
        told = self.told["mpay24"]
        self.base: str = told["base_url"]
        self.credentials: dict[str, str] = told["credentials"]
        self.http = httpx.Client(timeout=60)
        self.login = (f"u{self.credentials['merchant_id']}", self.credentials["password"])

    def close(self) -> int:
        self.http.close()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        return self.process.wait(60)

    # ---- the wire

    def post(self, body: bytes, **more: Any) -> Said:
        answer = self.http.post(self.credentials["endpoint"], content=body, **({"auth": self.login} | more))
        return Said(answer.status_code, answer.text)

    def send(self, inner: str) -> Said:
        """Send what stands in the SOAP body."""
        return self.post(ENVELOPE.format(inner).encode())

    def call(self, operation: str, inner: str) -> Said:
        merchant = self.credentials["merchant_id"]
        return self.send(f"<etp:{operation}><merchantID>{merchant}</merchantID>{inner}</etp:{operation}>")

    def charge(self, tid: str, customer: str, more: str = "", money: str = MONEY) -> Said:
        """Charge a stored profile."""
        payment = f"<tid>{tid}</tid><pType>PROFILE</pType><payment>{money}</payment>"
        return self.call("AcceptPayment", f"{payment}<customerID>{customer}</customerID>{more}")

    def card(self, tid: str, expiry: str, more: str = "", number: str = VISA, brand: str = "VISA") -> Said:
        """Charge a card; `more` goes into the payment."""
        own = f"<brand>{brand}</brand><identifier>{number}</identifier><expiry>{expiry}</expiry>"
        payment = f'<payment xsi:type="etp:PaymentCC">{MONEY}{own}{more}</payment>'
        return self.call("AcceptPayment", f"<tid>{tid}</tid><pType>CC</pType>{payment}")

    def debit(self, tid: str, brand: str, iban: str, more: str = "") -> Said:
        mandate = "<mandateID>M-1</mandateID><dateOfSignature>2026-01-02</dateOfSignature>"
        payment = (
            f'<payment xsi:type="etp:PaymentELV">{MONEY}<brand>{brand}</brand><iban>{iban}</iban>{mandate}</payment>'
        )
        return self.call(
            "AcceptPayment",
            f"<tid>{tid}</tid><pType>ELV</pType>{payment}<customerName>John Doe</customerName>"
            f"<order><clientIP>127.0.0.1</clientIP></order>{more}",
        )

    def reserve(self, tid: str) -> int:
        """Reserve 25.00 EUR on a card and return the mpayTID."""
        return self.card(tid, "4012", "<manualClearing>true</manualClearing>").mpay_tid

    def state(self, tid: str) -> str:
        return self.call("TransactionStatus", f"<tid>{tid}</tid>").parameters().get("STATUS", "NOT_FOUND")

    def page(self, mdxi: str) -> str:
        """Open a pay page and return its address."""
        said = self.call("SelectPayment", f"<mdxi>{escape(mdxi)}</mdxi>")
        assert said.code == "OK REDIRECT", said.raw
        return said.location

    def submit(self, page: str, **fields: str) -> httpx.Response:
        return self.http.post(page, data=fields)

    # ---- the controls

    def control(self, path: str) -> Any:
        return self.http.get(f"{self.base}/_sandbox/{path}").json()

    def faults(self, *rules: dict[str, Any]) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/faults", json=list(rules))

    def settings(self, **values: Any) -> httpx.Response:
        return self.http.put(f"{self.base}/_sandbox/settings", json=values)

    def profiles(self, *profiles: dict[str, str]) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/profiles", json=list(profiles))

    def move(self, mpay_tid: int, state: str) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/transactions/{mpay_tid}/move", json={"state": state})

    def reset(self) -> None:
        assert self.http.post(f"{self.base}/_sandbox/reset").status_code == 200

    def ledger(self, reference: str = "") -> list[tuple[str, int, str]]:
        """Return kind, amount and state of every booking of a reference."""
        rows = self.control("ledger")["transactions"]
        return [(r["kind"], r["amount_minor"], r["state"]) for r in rows if reference in {"", r["reference"]}]


def order(
    tid: str,
    price: str = "25.00",
    urls: dict[str, str] | None = None,
    customer: str = '<Customer Id="c-1" UseProfile="true">John Doe</Customer>',
    types: str = "",
    language: str = "EN",
) -> str:
    """Write an order document."""
    addresses = "".join(f"<{name}>{escape(url)}</{name}>" for name, url in (urls or {}).items())
    return (
        f'<Order><Tid>{tid}</Tid><TemplateSet Language="{language}" CSSName="MODERN"/>{types}<Price>{price}</Price>'
        f"{customer}<URL>{addresses}</URL></Order>"
    )


def headline(page: httpx.Response) -> str:
    """Return the headline of a page."""
    found = re.search(r"<h1>(.*?)</h1>", page.text)
    return found[1] if found else ""


def complaint(page: httpx.Response) -> str:
    """Return the error a page shows."""
    found = re.search(r'role="alert">(.*?)</p>', page.text)
    return found[1] if found else ""
