"""`turnus keys`: a key is shown once, rotated with time to change over, and revoked at once."""

from __future__ import annotations

import re

import pytest

from tests.jobs.conftest import Shell


@pytest.fixture
def ready(lite: Shell) -> Shell:
    lite.set_up()
    return lite


def test_a_key_is_shown_once_and_listed_without_its_secret(ready: Shell) -> None:
    made = ready("keys", "create", "--name", "shop", "--scope", "read", "--scope", "refund", "--json").json
    assert re.fullmatch(r"tk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", made["key"])

    listed = ready("keys", "list", "--json")
    [key] = listed.json["keys"]
    assert (key["prefix"], key["scopes"], key["state"]) == (made["prefix"], "read refund", "good")
    assert key["merchant"] == "gym"
    assert made["key"] not in listed.out
    assert made["prefix"] in ready("keys", "list").out


def test_a_key_is_rotated_and_revoked(ready: Shell) -> None:
    old = ready("keys", "create", "--name", "shop", "--scope", "read", "--json").json
    new = ready("keys", "rotate", old["prefix"], "--hours", "0", "--json").json
    assert new["key"] != old["key"]
    states = {key["prefix"]: key["state"] for key in ready("keys", "list", "--json").json["keys"]}
    assert states == {old["prefix"]: "over", new["prefix"]: "good"}

    assert ready("keys", "revoke", new["prefix"]).status == 0
    assert "revoked" in ready("keys", "list").out
    assert "opens nothing" in ready("keys", "revoke", new["prefix"]).refusal


def test_a_key_that_is_not_there_is_one_clear_line(ready: Shell) -> None:
    assert "there is no key" in ready("keys", "rotate", "000000000000").refusal


def test_without_a_scope_no_key_is_made(ready: Shell) -> None:
    assert "at least one scope" in ready("keys", "create", "--name", "shop").refusal
    assert ready("keys", "list").out == "There is no key yet: `turnus keys create`.\n"
