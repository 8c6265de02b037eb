"""The audit of dependencies finds what is known, and never takes silence for good news."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.audit import KNOWN, NotCarriedOutError, ask, locked, vulnerable

LOCK = """
aiohttp==3.13.2 \\
    --hash=sha256:00
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:00
Zeep==4.3.2
# yarl==1.0
"""
PACKAGES = [("aiohttp", "3.13.2"), ("colorama", "0.4.6"), ("zeep", "4.3.2")]


def service(known: dict[str, list[str]], status: int = 200) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        names = [query["package"]["name"] for query in json.loads(request.content)["queries"]]
        results = [{"vulns": [{"id": each} for each in known[name]]} if name in known else {} for name in names]
        return httpx.Response(status, json={"results": results})

    return httpx.Client(transport=httpx.MockTransport(answer))


def test_every_package_of_a_lock_is_asked_about() -> None:
    assert locked(LOCK) == PACKAGES


def test_what_is_known_against_a_package_is_found_unless_it_is_set_aside() -> None:
    told = ask(service({KNOWN[0]: ["GHSA-0"], "aiohttp": ["GHSA-1", "GHSA-2"], "zeep": ["GHSA-3"]}), PACKAGES)
    assert told == {PACKAGES[0]: ["GHSA-1", "GHSA-2"], PACKAGES[1]: [], PACKAGES[2]: ["GHSA-3"]}
    assert vulnerable(told, {"GHSA-2": "not used", "GHSA-3": "not used"}) == {PACKAGES[0]: ["GHSA-1"]}


@pytest.mark.parametrize("http", [service({}), service({KNOWN[0]: ["GHSA-0"]}, 503)])
def test_who_knows_nothing_or_does_not_answer_has_not_been_asked(http: httpx.Client) -> None:
    with pytest.raises(NotCarriedOutError, match=r"knows nothing|gave no answer"):
        ask(http, PACKAGES)


def test_an_answer_of_another_shape_is_none() -> None:
    http = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json={"results": [{}]})))
    with pytest.raises(NotCarriedOutError, match="gave no answer"):
        ask(http, PACKAGES)
