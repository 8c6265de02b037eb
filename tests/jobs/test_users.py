"""`turnus users`: people are let in by an address to choose a password at, and out at once."""

from __future__ import annotations

import pytest

from tests.jobs.conftest import Shell


@pytest.fixture
def ready(lite: Shell) -> Shell:
    lite.set_up()
    return lite


def test_before_there_is_a_user_the_list_shows_where_the_first_admin_is_made(ready: Shell) -> None:
    told = ready("users", "list", "--json").json
    assert told["users"] == []
    assert told["set_up_url"].startswith("http://127.0.0.1:8000/console/set-up?token=")
    assert told["set_up_url"] in ready("users", "list").out.replace("\n", "")


def test_a_user_is_added_listed_and_disabled(ready: Shell) -> None:
    ready("users", "add", "Anna@Example.net", "--name", "Anna", "--role", "admin", "--by", "root")
    made = ready("users", "add", "bo@example.net", "--name", "Bo", "--by", "root", "--json").json
    assert made["url"].startswith("http://127.0.0.1:8000/console/password/2.")
    assert ready("users", "disable", "BO@example.net").status == 0
    told = ready("users", "list", "--json").json
    assert "set_up_url" not in told
    users = [(user["email"], user["role"], user["merchant"], user["state"]) for user in told["users"]]
    assert users == [("anna@example.net", "admin", "gym", "invited"), ("bo@example.net", "viewer", "gym", "disabled")]
    assert ready("users", "enable", "bo@example.net").status == 0
    assert "disabled" not in ready("users", "list").out


def test_a_new_password_is_chosen_at_an_address_that_is_shown(ready: Shell) -> None:
    ready("users", "add", "anna@example.net", "--name", "Anna", "--by", "root")
    told = ready("users", "reset-password", "anna@example.net", "--second-factor", "--json").json
    assert "/console/password/1." in told["url"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("disable", "nobody@example.net"), "there is no user"),
        (("add", "anna", "--name", "Anna"), "name@example.com"),
        (("add", "anna@example.net", "--name", "Anna"), "works here already"),
        (("disable", "anna@example.net"), "last admin"),
        (("add", "bo@example.net", "--name", "Bo", "--merchant", "nobody"), "--merchant must name"),
    ],
)
def test_what_cannot_be_is_one_clear_line(ready: Shell, words: tuple[str, ...], said: str) -> None:
    ready("users", "add", "anna@example.net", "--name", "Anna", "--role", "admin", "--by", "root")
    assert said in ready("users", *words).refusal
