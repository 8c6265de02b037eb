from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from billing.gateway import NotSent, Unknown
from billing.webhooks import is_public
from gateways.transport import MASK, Answer, JudgedNames, Limits, Network, Redaction, Transport, carrier
from tests.billing.test_webhooks import Names
from tests.gateways.sockets import Line, Server, refusing, serving, untrusted_tls

PATIENT = Limits(total_s=60.0, connect_s=60.0, idle_s=60.0)
BODY = b"<pay>4444333322221111</pay>"


@asynccontextmanager
async def opened(limits: Limits = PATIENT, network: Network | None = None) -> AsyncIterator[Transport]:
    transport = Transport("test", limits, Redaction(frozenset({"pay"}), ("se&cret",)), network)
    try:
        yield transport
    finally:
        await transport.close()


async def sent(server: Server, method: str = "POST", limits: Limits = PATIENT) -> Answer | NotSent | Unknown:
    async with opened(limits) as transport:
        return await transport.send(method, server.address, {}, BODY if method == "POST" else b"")


# --- what proves that nothing left, and what does not ----------------------------------------


async def test_a_refused_connection_was_not_sent() -> None:
    with refusing() as address:
        async with opened() as transport:
            assert isinstance(await transport.send("POST", address, {}, BODY), NotSent)


async def test_a_handshake_that_nobody_answers_was_not_sent() -> None:
    async def silent(line: Line) -> None:
        await line.reader.read()

    async with serving(silent) as server:
        server.address = server.address.replace("http:", "https:")
        result = await sent(server, limits=Limits(total_s=60.0, connect_s=0.1))
        assert isinstance(result, NotSent)
        assert server.requests == []


async def test_a_certificate_nobody_signed_gets_no_request(tmp_path: Path) -> None:
    async def never(line: Line) -> None:
        await line.request()

    async with serving(never, untrusted_tls(tmp_path)) as server:
        result = await sent(server)
        assert isinstance(result, NotSent)
        assert "certificate" in result.reason.lower()
        assert server.requests == []


async def test_a_server_without_tls_gets_no_request_meant_for_tls() -> None:
    async def plain(line: Line) -> None:
        await line.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(plain) as server:
        server.address = server.address.replace("http:", "https:")
        assert isinstance(await sent(server), NotSent)


async def test_a_request_that_never_got_a_connection_was_not_sent() -> None:
    async def silent(line: Line) -> None:
        await line.request()
        await line.reader.read()

    limits = Limits(total_s=2.0, connect_s=60.0, in_flight_max=1)
    async with serving(silent) as server, opened(limits) as transport:
        first = asyncio.create_task(transport.send("POST", server.address, {}, BODY))
        await asyncio.sleep(0)
        second = await transport.send("POST", server.address, {}, BODY)
        assert isinstance(second, NotSent)
        assert isinstance(await first, Unknown)
        assert len(server.requests) == 1


async def test_hanging_up_without_reading_leaves_the_outcome_unknown() -> None:
    async def rude(line: Line) -> None:
        pass

    async with serving(rude) as server:
        assert isinstance(await sent(server), Unknown)


async def test_reading_everything_and_hanging_up_leaves_the_outcome_unknown() -> None:
    async def thief(line: Line) -> None:
        await line.request()

    async with serving(thief) as server:
        result = await sent(server)
        assert isinstance(result, Unknown)
        assert len(server.requests) == 1


@pytest.mark.parametrize("error", [httpx.ConnectTimeout, httpx.ConnectError, httpx.PoolTimeout])
async def test_the_name_of_an_exception_proves_nothing_only_its_cause_does(error: type[httpx.TransportError]) -> None:
    def misnamed(request: httpx.Request) -> httpx.Response:
        raise error("the server hung up")

    async with opened(network=httpx.MockTransport(misnamed)) as transport:
        assert isinstance(await transport.send("POST", "https://gateway.example/", {}, BODY), Unknown)


async def test_half_an_answer_leaves_the_outcome_unknown() -> None:
    async def half(line: Line) -> None:
        await line.request()
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<status>OK</sta")

    async with serving(half) as server:
        assert isinstance(await sent(server), Unknown)


async def test_an_answer_cut_inside_a_chunk_leaves_the_outcome_unknown() -> None:
    async def half(line: Line) -> None:
        await line.request()
        await line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n<status>OK")

    async with serving(half) as server:
        assert isinstance(await sent(server), Unknown)


async def test_garbage_leaves_the_outcome_unknown() -> None:
    async def garbage(line: Line) -> None:
        await line.request()
        await line.say(bytes(range(256)))

    async with serving(garbage) as server:
        assert isinstance(await sent(server), Unknown)


async def test_no_answer_leaves_the_outcome_unknown_once_the_time_is_over() -> None:
    async def silent(line: Line) -> None:
        await line.request()
        await line.reader.read()

    async with serving(silent) as server:
        assert isinstance(await sent(server, limits=Limits(total_s=1.0)), Unknown)


async def test_an_answer_that_drips_for_ever_is_given_up() -> None:
    async def drip(line: Line) -> None:
        await line.request()
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await line.say(b"x")
            await asyncio.sleep(0.02)

    async with serving(drip) as server, asyncio.timeout(60):
        assert isinstance(await sent(server, limits=Limits(total_s=1.0)), Unknown)


async def test_an_answer_without_end_is_given_up() -> None:
    async def flood(line: Line) -> None:
        await line.request()
        await line.answer(b"x" * 5000)

    async with serving(flood) as server:
        result = await sent(server, limits=Limits(total_s=60.0, answer_bytes_max=1000))
        assert isinstance(result, Unknown)
        assert "1000 bytes" in result.reason


async def test_using_a_closed_transport_is_a_value_too() -> None:
    async def fine(line: Line) -> None:
        await line.request()
        await line.answer()

    async with serving(fine) as server:
        async with opened() as transport:
            assert isinstance(await transport.send("POST", server.address, {}, BODY), Answer)
        assert isinstance(await transport.send("POST", server.address, {}, BODY), Unknown)


async def test_a_transport_closed_before_its_first_request_sends_nothing() -> None:
    async def fine(line: Line) -> None:
        await line.request()
        await line.answer()

    async with serving(fine) as server:
        async with opened() as transport:
            pass
        assert isinstance(await transport.send("POST", server.address, {}, BODY), Unknown)
        assert server.connections == 0


# --- once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_dies_under_its_second_request_is_not_sent_a_third(method: str) -> None:
    async def once_then_gone(line: Line) -> None:
        await line.request()
        if len(line.server.requests) == 1:
            await line.answer()
            await line.request()

    async with serving(once_then_gone) as server, opened() as transport:
        first = await transport.send(method, server.address, {}, b"")
        second = await transport.send(method, server.address, {}, b"")
        assert isinstance(first, Answer)
        assert isinstance(second, Unknown)
        assert (len(server.requests), server.connections) == (2, 1)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_closed_while_idle_is_noticed_before_it_is_used(method: str) -> None:
    gone = asyncio.Event()

    async def one_answer(line: Line) -> None:
        await line.request()
        await line.answer()
        line.writer.close()
        gone.set()

    async with serving(one_answer) as server, opened() as transport:
        await transport.send(method, server.address, {}, b"")
        await gone.wait()
        await asyncio.sleep(0.02)
        assert isinstance(await transport.send(method, server.address, {}, b""), Answer)
        assert (len(server.requests), server.connections) == (2, 2)


async def test_an_idle_connection_is_let_go_before_the_gateway_does() -> None:
    async def patient(line: Line) -> None:
        while True:
            await line.request()
            await line.answer()

    async with serving(patient) as server, opened(Limits(total_s=60.0, idle_s=0.05)) as transport:
        await transport.send("POST", server.address, {}, BODY)
        await asyncio.sleep(0.1)
        await transport.send("POST", server.address, {}, BODY)
        assert server.connections == 2


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async def elsewhere(line: Line) -> None:
        await line.request()
        await line.answer(status="307 Temporary Redirect", headers="Location: /again\r\n")

    async with serving(elsewhere) as server:
        result = await sent(server)
        assert isinstance(result, Answer)
        assert (result.status, len(server.requests)) == (307, 1)


async def test_a_cookie_is_not_carried_into_the_next_payment() -> None:
    async def baker(line: Line) -> None:
        while True:
            await line.request()
            await line.answer(headers="Set-Cookie: session=1; Path=/\r\n")

    async with serving(baker) as server, opened() as transport:
        await transport.send("POST", server.address, {}, BODY)
        await transport.send("POST", server.address, {}, BODY)
        assert all(b"session" not in request for request in server.requests)


async def test_a_proxy_in_the_environment_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fine(line: Line) -> None:
        await line.request()
        await line.answer()

    with refusing() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("ALL_PROXY", proxy)
        async with serving(fine) as server:
            assert isinstance(await sent(server), Answer)


async def test_an_answer_comes_back_whole() -> None:
    async def fine(line: Line) -> None:
        await line.request()
        await line.answer(b"\x00\xffbytes", headers="X-Kind: odd\r\n")

    async with serving(fine) as server:
        result = await sent(server)
        assert isinstance(result, Answer)
        assert (result.status, result.body, result.headers["x-kind"]) == (200, b"\x00\xffbytes", "odd")


async def test_a_compressed_answer_is_read() -> None:
    async def tight(line: Line) -> None:
        await line.request()
        await line.answer(gzip.compress(b"<status>OK</status>"), headers="Content-Encoding: gzip\r\n")

    async with serving(tight) as server:
        result = await sent(server)
        assert isinstance(result, Answer)
        assert result.body == b"<status>OK</status>"


async def test_a_request_says_who_sends_it_and_how_long_it_is_and_each_only_once() -> None:
    async def fine(line: Line) -> None:
        await line.request()
        await line.answer()

    async with serving(fine) as server, opened() as transport:
        await transport.send("POST", server.address, {"Accept": "text/xml", "Content-Type": "text/xml"}, BODY)
    head = server.requests[0].partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")[1:]
    names = [line.partition(":")[0] for line in head]
    assert sorted(names) == sorted(set(names))
    assert {"user-agent: turnus", "accept: text/xml"} <= set(head)


async def test_cancelling_is_not_taken_for_an_answer() -> None:
    started = asyncio.Event()

    async def silent(line: Line) -> None:
        await line.request()
        started.set()
        await line.reader.read()

    async with serving(silent) as server, opened() as transport:
        task = asyncio.create_task(transport.send("POST", server.address, {}, BODY))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# --- what people may read ----------------------------------------------------------------------

REDACTION = Redaction(frozenset({"iban", "identifier", "token", "confirmationURL", "mdxi"}), ("pass&word/9",))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("<iban>AT61 1904 3002 3457 3201</iban>", "1904"),
        ('<ns0:identifier xsi:type="x">12345</ns0:identifier>', "12345"),
        ("<token>abc\n def</token>", "def"),
        ("<iban>cut off in the midd", "midd"),
        ("<name>iban</name><value>some account</value>", "account"),
        ("<mdxi>&lt;Order&gt;&lt;Name&gt;Doe&lt;/Name&gt;&lt;/Order&gt;</mdxi>", "Doe"),
        ("&lt;iban&gt;some&amp;thing&lt;/iban&gt;", "thing"),
        ('{"token": "a\\"b", "n": 1}', 'a\\"b'),
        ('{"token":12345}', "12345"),
        ("a=1&token=abc&b=2", "abc"),
        ("<confirmationURL>https://x.y/?proof=1</confirmationURL>", "proof"),
        ("free text with 4444 3333 2222 1111 in it", "2222"),
        ("free text with 5555444433331111 in it", "5555444433331111"),
        ("free text with AT771400000123456789 in it", "123456789"),
        ("user:pass&word/9@host", "word"),
        ("user=pass%26word%2F9", "word"),
        ("<x>pass&amp;word/9</x>", "word"),
        ("Basic cGFzcyZ3b3JkLzk=", "cGFzc"),
    ],
)
def test_what_must_not_be_read_is_masked(text: str, hidden: str) -> None:
    cleaned = REDACTION.clean(text)
    assert hidden not in cleaned
    assert MASK in cleaned


def test_what_helps_people_stays_readable() -> None:
    text = "<tid>INV-2016-11</tid><mpayTID>3303581</mpayTID><amount>2500</amount><returnCode>DECLINED</returnCode>"
    assert REDACTION.clean(text) == text


@settings(deadline=None)
@given(st.text("§¶¤", min_size=3), st.text(), st.text())
def test_a_secret_never_survives_whatever_surrounds_it(secret: str, before: str, after: str) -> None:
    cleaned = Redaction(frozenset({"iban"}), (secret,)).clean(f"{before}|{secret}|{after}")
    assert f"|{secret}|" not in cleaned


@settings(deadline=None)
@given(st.text(), st.text())
def test_a_card_number_never_survives_whatever_surrounds_it(before: str, after: str) -> None:
    assert "4444333322221111" not in REDACTION.clean(f"{before}|4444333322221111|{after}")


async def test_the_log_of_an_exchange_says_what_happened_and_shows_no_secret() -> None:
    async def thief(line: Line) -> None:
        await line.request()
        await line.answer(b"<pay>secret</pay> 4444333322221111 se&cret")

    with capture_logs() as logs:
        async with serving(thief) as server, opened() as transport:
            await transport.send("POST", server.address, {"Authorization": "Basic se&cret"}, BODY)
    exchange = next(entry for entry in logs if entry["event"] == "exchange")
    assert exchange["gateway"] == "test"
    assert exchange["method"] == "POST"
    assert exchange["address"] == "127.0.0.1/door"
    assert (exchange["result"], exchange["status"]) == ("answer", 200)
    assert exchange["duration_ms"] >= 0
    for told in map(repr, logs):
        assert all(secret not in told for secret in ("4444333322221111", "se&cret", "in-the-query", ">secret<"))


async def test_the_log_of_a_failure_says_which_kind_it_was() -> None:
    with capture_logs() as logs, refusing() as address:
        async with opened() as transport:
            await transport.send("POST", address, {}, BODY)
    exchange = next(entry for entry in logs if entry["event"] == "exchange")
    assert (exchange["log_level"], exchange["result"]) == ("warning", "NotSent")
    assert "Connect" in exchange["error"]
    assert exchange["reason"].startswith("no connection was made: ")


async def test_the_reason_of_a_doubt_shows_no_secret() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise RuntimeError("something about se&cret and 4444333322221111")

    async with opened(network=httpx.MockTransport(broken)) as transport:
        result = await transport.send("POST", "https://gateway.example/", {}, BODY)
    assert isinstance(result, Unknown)
    assert result.reason == f"the exchange broke off: something about {MASK} and {MASK}"


async def test_a_hidden_part_of_an_address_is_sent_and_not_logged() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200)

    with capture_logs() as logs:
        async with opened(network=httpx.MockTransport(answer)) as transport:
            await transport.send("POST", "https://gateway.example/tokens/tok-1/pay", {}, hidden="tok-1")
    assert asked == ["/tokens/tok-1/pay"]
    exchange = next(entry for entry in logs if entry["event"] == "exchange")
    assert exchange["address"] == f"gateway.example/tokens/{MASK}/pay"


# --- where names may lead ---------------------------------------------------------------------


async def fine(line: Line) -> None:
    await line.request()
    await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize("leads_to", ["127.0.0.1", "::1", "10.1.2.3", "169.254.169.254", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_inside_is_not_connected_to_and_nothing_was_sent(leads_to: str) -> None:
    async with serving(fine) as server:
        network = partial(carrier, reaches=is_public, resolver=Names(*[leads_to] * 3))
        async with opened(network=network) as transport:
            result = await transport.send("POST", server.address.replace("127.0.0.1", "gateway.example"), {}, BODY)
    assert isinstance(result, NotSent)
    assert server.connections == 0


async def test_places_that_were_judged_when_they_were_written_down_are_connected_to() -> None:
    async with serving(fine) as server:
        for host, names in (("127.0.0.1", Names()), ("localhost", Names("127.0.0.1"))):
            async with opened(network=partial(carrier, reaches=is_public, resolver=names)) as transport:
                result = await transport.send("POST", server.address.replace("127.0.0.1", host), {}, BODY)
            assert isinstance(result, Answer), result


async def test_where_private_addresses_are_allowed_a_name_leads_anywhere() -> None:
    async with serving(fine) as server, opened(network=partial(carrier, resolver=Names("127.0.0.1"))) as transport:
        result = await transport.send("POST", server.address.replace("127.0.0.1", "gateway.example"), {}, BODY)
    assert isinstance(result, Answer)


async def test_of_what_a_name_leads_to_only_what_is_public_is_left() -> None:
    names = JudgedNames(is_public, Names("10.0.0.1 192.0.2.1 93.184.216.34"))
    assert [each["host"] for each in await names.resolve("gateway.example", 443)] == ["93.184.216.34"]
    await names.close()


# --- how busy the gateway is --------------------------------------------------


async def told(status: str, headers: str = "") -> Transport:
    """Return a transport that has just been answered so, while three more requests were under way."""

    async def answer(line: Line) -> None:
        await line.request()
        await line.answer(status=status, headers=headers)

    async with serving(answer) as server, opened() as transport:
        for _ in range(3):
            transport.pace.leave()
        await transport.send("POST", server.address, {}, BODY)
    return transport


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_a_gateway_that_is_too_busy_is_asked_for_less(status: str) -> None:
    assert (await told(status)).pace.in_flight == 2


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Internal Server Error", "502 Bad Gateway"])
async def test_other_answers_slow_nothing_down(status: str) -> None:
    assert (await told(status)).pace.in_flight == PATIENT.in_flight_max


@pytest.mark.parametrize(("asked", "wait_s"), [("30", 30), ("3600", 60)])
async def test_what_the_gateway_asks_for_is_waited_for_but_not_for_ever(asked: str, wait_s: float) -> None:
    begun = time.monotonic()
    transport = await told("429 Too Many Requests", f"Retry-After: {asked}\r\n")
    assert transport.pace.opens_in_s(begun) >= wait_s >= transport.pace.opens_in_s(time.monotonic())


@pytest.mark.parametrize("asked", ["", "soon", "-5", "1.5", "Fri, 31 Dec 2027 23:59:59 GMT", "9" * 400])
async def test_what_cannot_be_understood_as_seconds_is_a_short_pause(asked: str) -> None:
    transport = await told("429 Too Many Requests", f"Retry-After: {asked}\r\n")
    assert transport.pace.opens_in_s(time.monotonic()) <= 0.25


async def test_a_gateway_that_answers_too_late_is_asked_for_less() -> None:
    async def silent(line: Line) -> None:
        await line.request()
        await line.reader.read()

    async with serving(silent) as server, opened(Limits(total_s=2.0, in_flight_max=8)) as transport:
        results = await asyncio.gather(*(transport.send("POST", server.address, {}, BODY) for _ in range(8)))

    assert {type(each) for each in results} == {Unknown}
    assert transport.pace.in_flight == 4, "one round is one sign"


async def test_a_refusal_to_connect_and_a_hang_up_say_nothing_of_load() -> None:
    async def thief(line: Line) -> None:
        await line.request()

    with refusing() as address:
        async with serving(thief) as server, opened() as transport:
            for where in (address, server.address):
                await transport.send("POST", where, {}, BODY)
            assert transport.pace.in_flight == PATIENT.in_flight_max
