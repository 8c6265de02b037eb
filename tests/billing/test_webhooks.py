"""The way to endpoints: signed, never into a private network, never longer or more than was said."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import abc, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook, WebhookVerificationError

from billing.clock import SystemClock
from billing.webhooks import (
    ANSWER_BYTES_MAX,
    EXCERPT_CHARS_MAX,
    BadUrlError,
    Courier,
    check_url,
    is_public,
    new_secret,
    sign,
)
from gateways.transport import Redaction

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY = '{"type":"invoice.paid","timestamp":"2026-11-25T01:10:00Z","data":{"id":"inv_12","title":"Größe"}}'


@asynccontextmanager
async def listening(
    handler: Handler, host: str = "127.0.0.1", secured: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Let somebody listen on a port of this machine, and give the address."""
    server = web.Server(handler)  # type: ignore[arg-type]  # it is given the subclass
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=secured)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"{'https' if secured else 'http'}://{host}:{port}/hooks"
    finally:
        await runner.cleanup()


def answering(status: int = 200, text: str = "", **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=named)

    return handler


# --- signatures -------------------------------------------------------------


def test_a_signed_body_verifies_with_the_library_and_a_changed_one_does_not() -> None:
    secret = new_secret()
    headers = sign([secret], "evt_1", SystemClock().now(), BODY)

    assert Webhook(secret).verify(BODY, headers)["data"] == {"id": "inv_12", "title": "Größe"}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY.replace("inv_12", "inv_13"), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


def test_while_secrets_change_over_both_sign() -> None:
    new, old = new_secret(), new_secret()
    headers = sign([new, old], "evt_1", SystemClock().now(), BODY)

    for secret in (new, old):
        assert Webhook(secret).verify(BODY, headers)
    assert [each[:3] for each in headers["webhook-signature"].split(" ")] == ["v1,", "v1,"]


def test_what_is_signed_is_what_the_specification_says() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the specification's own example
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, '{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_secrets_are_of_the_length_that_the_specification_wants_and_never_the_same() -> None:
    assert len({new_secret() for _ in range(50)}) == 50
    assert all(len(new_secret()) == len("whsec_") + 44 for _ in range(5))


# --- where it never goes ----------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - it is refused
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.254",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2002:a9fe:a9fe::1",
        "2001::1",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "100::1",
    ],
)
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::1", "::ffff:8.8.8.8"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://shop.example/hooks", "https"),
        ("ftp://shop.example/hooks", "https"),
        ("shop.example/hooks", "https"),
        ("//shop.example/hooks", "https"),
        ("https:///hooks", "host"),
        ("https://", "host"),
        ("https://user:password@shop.example/", "no user name"),
        ("https://user@shop.example/", "no user name"),
        ("https://@shop.example/", "no user name"),
        ("https://shop.example/#part", "#"),
        ("https://shop.example:25/", "port"),
        ("https://shop.example:0/", "port"),
        ("https://shop.example:80/", "port"),
        ("https://shop.example:99999/", "no web address"),
        ("https://shop.example:x/", "no web address"),
        ("https://[::1/", "no web address"),
        ("https://shop.example/a b", "characters"),
        ("https://shop.example/\n", "characters"),
        ("https://shop.example\\@inside/", "characters"),
        ("https://größe.example/", "characters"),
        ("https://shop.example/" + "x" * 500, "characters"),
        ("https://localhost/", "not public"),
        ("https://intranet/", "not public"),
        ("https://127.0.0.1/", "not public"),
        ("https://[::1]/", "not public"),
        ("https://[::ffff:10.0.0.1]/", "not public"),
        ("https://169.254.169.254/latest/meta-data", "not public"),
    ],
)
def test_a_bad_address_is_refused_with_one_clear_reason(url: str, reason: str) -> None:
    with pytest.raises(BadUrlError, match=reason):
        check_url(url, private=False)


@pytest.mark.parametrize(
    "url",
    ["https://shop.example/hooks?shop=1", "https://shop.example:8443/", "https://8.8.8.8/", "https://a.example:9000"],
)
def test_an_address_on_the_internet_will_do(url: str) -> None:
    check_url(url, private=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:80/", "http://localhost/hooks", "https://intranet/"])
def test_where_the_operator_allows_it_an_endpoint_may_be_anywhere(url: str) -> None:
    check_url(url, private=True)


@pytest.mark.parametrize("url", ["ftp://localhost/", "http://user@localhost/", "http:///"])
def test_even_then_it_is_a_plain_web_address(url: str) -> None:
    with pytest.raises(BadUrlError):
        check_url(url, private=True)


class Names(abc.AbstractResolver):
    """A resolver that answers one address after the other, whatever it is asked."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[abc.ResolveResult]:
        self.asked += 1
        addresses = self.answers.pop(0).split()
        return [
            abc.ResolveResult(
                hostname=host, host=each, port=port, family=family, proto=0, flags=int(socket.AI_NUMERICHOST)
            )
            for each in addresses
        ]

    async def close(self) -> None:
        """Keep nothing."""


async def test_a_name_that_leads_inside_is_not_connected_to() -> None:
    reached: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        reached.append(request.path)
        return web.Response()

    async with listening(handler) as url:
        port = url.rpartition(":")[2].partition("/")[0]
        async with Courier(resolver=Names("127.0.0.1", "10.0.0.1 127.0.0.1", "::ffff:127.0.0.1")) as courier:
            for _ in range(3):
                heard = await courier.send(f"https://shop.example:{port}/", {}, BODY)
                assert (heard.status, heard.text) == (None, "it leads to an address that is not public")
        assert reached == []


async def test_a_name_that_leads_inside_the_second_time_gains_nothing() -> None:
    """127.0.0.1 stands for an address on the internet here, and 127.0.0.2 for one inside."""
    reached: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        reached.append(str(request.transport and request.transport.get_extra_info("sockname")[0]))
        return web.Response(headers={"Connection": "close"})

    async with listening(handler, "0.0.0.0") as url:  # noqa: S104 - so that it is there under both
        port = url.rpartition(":")[2].partition("/")[0]
        names = Names("127.0.0.1", "127.0.0.2", "127.0.0.2 127.0.0.1")
        public = ip_address("127.0.0.1")
        async with Courier(private=True, reaches=lambda address: address == public, resolver=names) as courier:
            heard = [await courier.send(f"http://shop.example:{port}/", {}, BODY) for _ in range(3)]

    assert [each.status for each in heard] == [200, None, 200]
    assert reached == ["127.0.0.1", "127.0.0.1"]
    assert names.asked == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "localhost"])
async def test_a_number_that_means_this_machine_is_not_connected_to_however_it_is_written(host: str) -> None:
    async with Courier() as courier:
        heard = await courier.send(f"https://{host}:8443/", {}, BODY)
    assert heard.status is None


async def test_what_was_allowed_once_is_looked_at_again_before_it_is_sent_to() -> None:
    async with listening(answering()) as url, Courier() as courier:
        assert (await courier.send(url, {}, BODY)).status is None


async def test_a_redirection_is_not_followed() -> None:
    async with (
        listening(answering(200)) as other,
        listening(answering(302, Location=other)) as url,
        Courier(private=True) as courier,
    ):
        assert (await courier.send(url, {}, BODY)).status == 302


# --- what is sent and read --------------------------------------------------


async def test_what_arrives_is_the_body_that_was_signed() -> None:
    secret, got = new_secret(), []

    async def handler(request: web.Request) -> web.StreamResponse:
        got.append((dict(request.headers), await request.read()))
        return web.Response(text="thanks")

    async with listening(handler) as url, Courier(private=True) as courier:
        heard = await courier.send(url, sign([secret], "evt_1", SystemClock().now(), BODY), BODY)

    [(headers, body)] = got
    assert (heard.status, heard.text) == (200, "thanks")
    assert headers["Content-Type"] == "application/json"
    assert Webhook(secret).verify(body, headers)["type"] == "invoice.paid"


async def test_connections_are_kept() -> None:
    peers: set[Any] = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        peers.add(request.transport and request.transport.get_extra_info("peername"))
        await request.read()
        return web.Response()

    async with listening(handler) as url, Courier(private=True) as courier:
        for _ in range(3):
            assert (await courier.send(url, {}, BODY)).status == 200
    assert len(peers) == 1


async def test_of_a_long_answer_only_the_beginning_is_read() -> None:
    written = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal written
        answer = web.StreamResponse()
        await answer.prepare(request)
        while written < 64 * 1024 * 1024:
            await answer.write(b"x" * 65536)
            written += 65536
        return answer

    async with listening(handler) as url, Courier(private=True) as courier:
        heard = await courier.send(url, {}, BODY)
    assert (heard.status, heard.text) == (200, "x" * EXCERPT_CHARS_MAX)
    assert written < 64 * 1024 * 1024
    assert ANSWER_BYTES_MAX <= 4096


async def test_what_looks_like_a_card_is_not_kept_nor_what_cannot_be_printed() -> None:
    shy = Courier(private=True, clean=Redaction().clean)
    async with listening(answering(500, "card 4111111111111111\nfailed\x00")) as url, shy as courier:
        heard = await courier.send(url, {}, BODY)
    assert (heard.status, heard.text) == (500, "card *** failed")


async def test_a_compressed_answer_is_not_unpacked() -> None:
    async with listening(answering(200, "x", Content_Encoding="gzip")) as url, Courier(private=True) as courier:
        assert (await courier.send(url, {}, BODY)).status == 200


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "120"}, 120),
        ({"Retry_After": "Wed, 25 Nov 2026 10:01:00 GMT", "Date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 60),
        ({"Retry_After": "Wed, 25 Nov 2026 09:00:00 GMT", "Date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "9" * 40}, 999_999_999),
        ({}, None),
    ],
)
async def test_how_long_to_wait_is_read_from_the_answer(headers: dict[str, str], wait_s: int | None) -> None:
    async with listening(answering(503, **headers)) as url, Courier(private=True) as courier:
        assert (await courier.send(url, {}, BODY)).retry_after_s == wait_s


def vouched_for_by_nobody(folder: Path) -> ssl.SSLContext:
    """Return what a server needs to show a certificate for 127.0.0.1 that it has signed itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = SystemClock().now()
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


async def test_an_endpoint_whose_certificate_nobody_vouches_for_hears_nothing(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        heard.append(await request.read())
        return web.Response()

    shown = vouched_for_by_nobody(tmp_path)
    async with listening(handler, secured=shown) as url, Courier(private=True) as courier:
        answer = await courier.send(url, {}, BODY)
    assert (answer.status, heard) == (None, [])
    assert "CertificateError" in answer.text


async def test_nothing_the_network_does_is_raised() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def talk_nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with Courier(private=True) as courier:
        assert (await courier.send("http://127.0.0.1:9/", {}, BODY)).status is None
        for rude in (hang_up, talk_nonsense):
            async with await asyncio.start_server(rude, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                heard = await courier.send(f"http://127.0.0.1:{port}/", {}, BODY)
                assert heard.status is None
                assert heard.text
