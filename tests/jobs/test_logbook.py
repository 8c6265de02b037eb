"""No secret is ever in a log: by whatever way it gets there, by name, by value or by shape, ours or a library's."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from billing.gateway import Mandate, ProfileNews, ProfileReference
from billing.links import Links
from billing.models import Profile, table
from billing.store import Store
from billing.vault import Vault
from gateways.transport import MASK
from jobs.logbook import Redactor, open_logbook
from jobs.settings import Settings

SECRET_KEY = "only-a-test-key-0123456789-abcdefgh"
VAULT = Vault(SECRET_KEY)
LINKS = Links(VAULT, "https://pay.example")
SETTINGS = Settings(
    _env_file=None,
    secret_key=SECRET_KEY,
    secret_key_old="another-test-key-0123456789-abcdefgh",
    database_url="postgresql+psycopg://turnus:d%40tabase-pass@db/turnus",
    smtp_url="smtp://robot:smtp-sesame@mail",
    dkim_key="dkim-private-lines",
)
CREDENTIALS = {"endpoint": "https://gateway.example/api", "merchant_id": "90001", "timeout_s": "30"} | {
    "password": "sesame-open-1",
    "api_secret": "payone-secret-2",
    "webhook_secret_2": "webhook-sesame-3",
    "hmac_password": "hmac-sesame-4",
    "secret_key": "paymentz-sesame-5",
    "encryption_password": "cipher-sesame-6",
}

# What is secret, and how it may come to be in a line.
SECRETS = {
    "a pay-link": (LINKS.token(77), [f"GET {LINKS.pay(77)}/back/success failed", f"to {LINKS.returns(77)}"]),
    "a notification's proof": (
        LINKS.notify(1, "INV-A-1").rpartition("/")[2],
        [f"POST {LINKS.notify(1, 'INV-A-1')} took long"],
    ),
    "a link of a kind to come": ("QmFzZTY0VXJsU2FmZVRva2Vu", ["GET /portal/QmFzZTY0VXJsU2FmZVRva2Vu"]),
    "an API key": (
        "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v",
        [
            "Authorization: Bearer tk_0123456789ab_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v",
            "key tk_0123456789ab_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v is unknown",
        ],
    ),
    "a session": (
        "s3ss10n-of-anna",
        ["Cookie: lang=de; turnus_session=s3ss10n-of-anna", "{'cookie': 'a=1; turnus_session=s3ss10n-of-anna'}"],
    ),
    "a basic login": ("dTpzZXNhbWUtb3Blbi0x", ["headers: Basic dTpzZXNhbWUtb3Blbi0x, 3"]),
    "a card": ("4111 1111 1111 1111", ["card 4111 1111 1111 1111 was typed", "pan=4111 1111 1111 1111"]),
    "a card without blanks": ("4444333322221111", ["<number>4444333322221111</number>", '{"n": 4444333322221111}']),
    "an IBAN": ("AT611904300234573201", ["debit of AT611904300234573201", "iban: AT611904300234573201"]),
    "an IBAN with blanks": ("DE89 3704 0044 0532 0130 00", ["from DE89 3704 0044 0532 0130 00 today"]),
    "a CVC": ("cvc-737", ["cvc=cvc-737", "{'cvc': 'cvc-737'}"]),
    "a webhook's secret": ("whsec_c2VzYW1lLW9wZW4tMQ", ["signing with whsec_c2VzYW1lLW9wZW4tMQ"]),
    "what is sealed": (VAULT.seal("sesame").partition(".")[2], [f"the row holds {VAULT.seal('sesame')}"]),
    "the secret key": (SECRET_KEY, [f"key {SECRET_KEY}", f"TURNUS_SECRET_KEY={SECRET_KEY}"]),
    "the former key": (SETTINGS.secret_key_old, [f"key {SETTINGS.secret_key_old}"]),
    "the database's password": (
        "d%40tabase-pass",
        ["connect to postgresql://turnus:d%40tabase-pass@db/turnus", "password d@tabase-pass".replace("@", "%40")],
    ),
    "the database's password as it is": ("d@tabase-pass", ["FATAL: d@tabase-pass is wrong"]),
    "the mail server's password": ("smtp-sesame", ["AUTH robot smtp-sesame", f"url {SETTINGS.smtp_url}"]),
    "the key that signs mails": ("dkim-private-lines", ["bad key dkim-private-lines"]),
    **{
        f"a gateway's {name}": (value, [f"refused: {value} is wrong", f'{{"{name}": "{value}"}}', f"{name}={value}"])
        for name, value in CREDENTIALS.items()
        if name not in ("endpoint", "merchant_id", "timeout_s")
    },
}
LINES = [
    pytest.param(secret, line, id=f"{name} {n}")
    for name, (secret, lines) in SECRETS.items()
    for n, line in enumerate(lines)
]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close the logbook that a test has opened."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if type(handler).__module__ != "jobs.logbook"]
    root.setLevel(logging.WARNING)


@pytest.fixture(params=["json", "text"])
def redactor(request: pytest.FixtureRequest) -> Redactor:
    """The logbook of a process that serves, open from debug on."""
    return opened(request.param)


def opened(style: str) -> Redactor:
    redactor = open_logbook("debug", style)
    redactor.learn(SETTINGS.secrets())
    redactor.learn_credentials(CREDENTIALS)
    return redactor


def fail(text: str) -> None:
    secret = text
    raise RuntimeError(f"it broke: {secret}")


@pytest.mark.parametrize(("secret", "line"), LINES)
def test_a_secret_is_in_no_line_whatever_way_it_came(
    redactor: Redactor, capsys: pytest.CaptureFixture[str], secret: str, line: str
) -> None:
    log, library = structlog.get_logger("turnus.test"), logging.getLogger("a.library")
    log.warning(line, said=line, listed=[line], named={"told": line, "cookie": secret, "password": secret})
    library.error("told: %s", line)
    with structlog.contextvars.bound_contextvars(merchant=line):
        log.info("bound")
    try:
        fail(line)
    except RuntimeError as error:
        log.exception("broken")
        log.error("broken again", exc_info=error)
        library.exception("broken in a library")

    written = capsys.readouterr().err
    assert secret not in written
    assert secret.replace(" ", "") not in written
    assert written.count(MASK) >= 6
    assert "it broke" in written


def test_what_is_harmless_stays_readable(redactor: Redactor, capsys: pytest.CaptureFixture[str]) -> None:
    harmless = (
        "run 12 of nordlicht charged 250 of 4900 EUR on 2026-11-25T02:00:00+01:00 at https://gateway.example/api "
        "as INV-3CZWKFHXYRBNSEM7-1 for company 90001, request 6f9619ff-8b86-d011-b42d-00c04fc964ff"
    )
    structlog.get_logger("turnus.test").info(harmless, count=7, done=True, nothing=None)
    assert harmless in capsys.readouterr().err


def test_a_profile_is_named_by_nobody_who_shows_what_names_it() -> None:
    reference = ProfileReference("tok-of-anna", "1", Mandate())
    assert "tok-of-anna" not in repr(reference) + repr(ProfileNews("tok-of-anna")) + str([reference])


async def test_a_statement_that_fails_tells_no_value(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """PostgreSQL tells the whole row, and SQLAlchemy would tell the parameters."""
    opened("json")
    values = dict.fromkeys(("sealed_reference", "brand"), f"what-{'anna'}-pays-with")
    with pytest.raises(DBAPIError) as failed:
        async with store.write() as session:
            await session.execute(insert(table(Profile)).values(**values))
    structlog.get_logger("turnus.test").error("broken", exc_info=failed.value)
    written = capsys.readouterr().err
    assert "constraint" in written
    assert values["brand"] not in written


def test_a_line_for_programs_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    open_logbook("info", "json")
    structlog.get_logger("turnus.test").info("two\nlines", at=1)
    logging.getLogger("a.library").warning("mind %s", "that")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first | {"timestamp": ""} == {
        "logger": "turnus.test", "level": "info", "timestamp": "", "event": "two\nlines", "at": 1,
    }  # fmt: skip
    assert (second["logger"], second["level"], second["event"]) == ("a.library", "warning", "mind that")


def test_libraries_are_not_heard_below_warnings(redactor: Redactor, capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("aiosqlite").debug("executing INSERT with what nobody may read")
    assert capsys.readouterr().err == ""


def test_opening_the_logbook_again_writes_no_line_twice(capsys: pytest.CaptureFixture[str]) -> None:
    open_logbook("info", "json")
    open_logbook("info", "json")
    logging.getLogger("a.library").warning("once")
    assert capsys.readouterr().err.count("once") == 1


def test_a_short_credential_hides_no_words(redactor: Redactor) -> None:
    redactor.learn(["on"])
    assert redactor.clean("on and on") == "on and on"


def test_a_failure_is_logged_without_the_values_it_broke_on(
    redactor: Redactor, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_with(word: str) -> float:
        return len(word) / 0

    try:
        break_with("".join(("a visibly ", "fake word")))
    except ZeroDivisionError as error:
        structlog.get_logger("turnus.test").error("page failed", exc_info=error)
    said = capsys.readouterr().err
    assert "break_with" in said
    assert "a visibly fake word" not in said
