"""Bad input is one clear line that names what is wrong, exit status 2, and nothing changed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import migrations
from tests.conftest import Databases
from tests.jobs.conftest import HEADER, ROW, Shell, row, setup_text
from tests.scenarios.stage import SECRET

# --- settings ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SECRET_KEY", "geheim", "is too short; it takes any text of at least 32 characters"),
        ("SMTP_URL", "gopher://x", "smtp"),
        ("SMTP_URL", "smtp://host:notaport", "port"),
        ("PUBLIC_URL", "pay.example.com", "it is not a web address; write it like https://pay.example.com"),
        ("TIMEZONE", "Europe/Atlantis", "there is no time zone 'Europe/Atlantis'"),
        ("RUN_HOUR", "24", "less than or equal to 23"),
        ("DUN_HOUR", "nine", "valid integer"),
        ("LEASE_S", "1", "greater than or equal to 5"),
        ("IN_FLIGHT_MAX", "0", "greater than or equal to 1"),
        ("LOG_LEVEL", "loud", "should match pattern"),
    ],
)
def test_a_malformed_setting_is_named(lite: Shell, name: str, value: str, says: str) -> None:
    lite.set(**{name: value})
    said = lite("run").refusal
    assert said.startswith(f"turnus: TURNUS_{name}: ")
    assert says in said
    if name in ("SECRET_KEY", "SMTP_URL"):
        assert value not in said


def test_a_missing_secret_key_is_named(bare: Shell) -> None:
    assert bare("run").refusal == ("turnus: TURNUS_SECRET_KEY: is not set; it takes any text of at least 32 characters")
    assert list(bare.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("nonsense", "TURNUS_DATABASE_URL is no database address"),
        ("sqlite://", "TURNUS_DATABASE_URL names no file"),
        ("mysql://root:geheim@host/turnus", "TURNUS_DATABASE_URL names 'mysql'; Turnus runs on SQLite and PostgreSQL"),
        ("postgresql://root:geheim@127.0.0.1:1/turnus", "postgresql://root:***@127.0.0.1:1/turnus cannot be used"),
        ("sqlite:////nowhere/turnus.db", "nowhere/turnus.db cannot be used: there is no such folder"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(bare: Shell, address: str, says: str) -> None:
    bare.set(SECRET_KEY=SECRET, DATABASE_URL=address)
    # SQLite's thread outlives a connection that failed, so that one has a process of its own.
    said = (bare.apart if "nowhere" in address else bare)("migrate").refusal
    assert says in said
    assert "geheim" not in said


def test_a_file_that_is_no_database_is_left_as_it_is(bare: Shell) -> None:
    path = bare.write("letters.db", "Dear diary, " * 100)
    bare.set(SECRET_KEY=SECRET, DATABASE_URL=f"sqlite:///{path}")
    assert "file is not a database" in bare.apart("run").refusal
    assert path.read_text() == "Dear diary, " * 100


def test_a_database_without_our_tables_wants_to_be_migrated_first(
    bare: Shell, databases: Databases, dialect: str, tmp_path: Path
) -> None:
    with databases.empty(dialect, tmp_path) as address:
        bare.set(SECRET_KEY=SECRET, DATABASE_URL=address)
        for command in ("run", "dun", "reconcile", "deliver", "doctor"):
            assert bare(command, "--json").refusal == (
                "turnus: the database has not the current schema; run `turnus migrate` first"
            )
        assert list(bare.folder.iterdir()) == []
        assert list(tmp_path.glob("*.db")) == []
        assert bare("migrate", "--json").json == {"revision": migrations.head()}
        assert bare("run", "--json").status == 0


def test_a_setting_that_fits_no_merchant_is_one_line_for_all_of_them(lite: Shell) -> None:
    people = lite.set_up().with_name("people.csv")
    assert lite.enrol(row(1)).status == 0
    ring = lite.write("ring.toml", setup_text({"endpoint": "http://127.0.0.1:9/x"}).replace("gym", "ring"))
    assert lite("setup", ring).status == 0
    assert lite("import", people, "--merchant", "ring").status == 0
    lite.set(LEASE_S="20")

    assert "TURNUS_LEASE_S: 20 s are too short" in lite("run", "--on", "2060-01-31", "--json").refusal


# --- words ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ran"], "No such command 'ran'"),
        (["run", "--dryrun"], "No such option"),
        (["run", "--on", "1 December"], "'1 December' does not match the formats '%Y-%m-%d'"),
        (["run", "--merchant", "nobody"], "there is no merchant 'nobody'"),
        (["dun", "--merchant", "nobody"], "there is no merchant 'nobody'"),
        (["reconcile", "--wait", "-1"], "--wait"),
        (["setup"], "Missing argument 'file'"),
        (["setup", "nowhere.toml"], "nowhere.toml: No such file or directory"),
        (["import", "nowhere.csv"], "nowhere.csv: No such file or directory"),
        (["setup", "."], ".: Is a directory"),
        (["explain", "sub_4"], "nothing is called 'sub_4'"),
        (["renew", "S1"], "no subscription 'S1' with a stored profile"),
        (["settle", "att_1"], "Missing option '--proof'"),
        (["settle", "att_1", "--proof", "x"], "either --approved with the gateway's id of it, or --not-booked"),
        (["settle", "att_1", "--proof", "x", "--not-booked", "--approved", "1"], "either --approved"),
        (["settle", "inv_1", "--proof", "x", "--not-booked", "--by", "anna"], "'inv_1' names nothing"),
        (["settle", "att_1", "--proof", " ", "--not-booked", "--by", "anna"], "--proof: say in at most"),
        (["settle", "att_1", "--proof", "x", "--not-booked", "--by", "anna"], "there is no att_1"),
        (["settle", "op_1", "--proof", "x", "--approved", "1", "--by", "anna"], "there is no op_1"),
        (["refund", "inv_1"], "'inv_1' names no payment"),
        (["refund", "att_1"], "there is no att_1"),
        (["serve", "--port", "70000"], "--port"),
        (["demo", "--customers", "0"], "--customers"),
        (["demo", "--prepare", "/proc/nowhere"], "/proc/nowhere: No such file or directory"),
    ],
)
def test_words_that_make_no_sense_are_answered_in_one_line(lite: Shell, words: list[str], says: str) -> None:
    assert says in lite(*words).refusal


def test_no_word_at_all_shows_the_commands(bare: Shell) -> None:
    said = bare()
    assert said.status == 0
    assert "Issue and charge what is due" in said.out


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_port_that_is_taken_is_named(lite: Shell, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = str(held.getsockname()[1])
        assert lite(command, "--port", port).refusal == (
            f"turnus: nothing can be served at 127.0.0.1 port {port}: Address already in use"
        )


# --- the merchant's file ----------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"currency": '"XXQ"'}, "plan[0].price[0]: "),
        ({"amount": '"0.00"'}, "plan[0].price[0]: "),
        ({"amount": '"-5"'}, "plan[0].price[0]: "),
        ({"amount": '"25.001"'}, "plan[0].price[0]: "),
        ({"amount": "25.0"}, "plan[0].price[0].amount: "),
        ({"every": '"0 months"'}, "plan[0].price[0]: "),
        ({"every": '"fortnight"'}, "plan[0].price[0]: 'fortnight' is not an interval"),
        ({"tax": '"a fifth"'}, "plan[0].price[0]: 'a fifth' is not a tax rate"),
        ({"tax": '"120%"'}, "plan[0].price[0]: "),
        ({"timezone": '"Europe/Atlantis"'}, "merchant.timezone: there is no time zone 'Europe/Atlantis'"),
        ({"gateway": '"paypal"'}, "gateway account 'main': "),
        ({"merchant_id": '"7"'}, "gateway account 'main': mpay24 setting merchant_id cannot be '7'"),
        ({"password": '"x"\ntimeout_s = "120"'}, "gateway account 'main': timeout_s cannot be 120: "),
        ({"password": '"env:NOT_THERE"'}, "gateway_account[0].credentials.password: NOT_THERE is not set"),
        ({"accent": '"#eeeeee,#ffffff,#ffffff;#000000,#000000,#000000"'}, "merchant.accent: light: "),
        ({"accent": '"blue"'}, "merchant.accent: "),
        ({"mail_from": '"nobody"'}, "merchant.mail_from: "),
        ({"number_prefix": '"T H"'}, "merchant.number_prefix: "),
        ({"legal_name": ""}, "merchant.legal_name: "),
        ({"live": '"perhaps"'}, "merchant.live: "),
    ],
)
def test_a_merchant_that_cannot_be_is_named_by_its_place(lite: Shell, changes: dict[str, str], says: str) -> None:
    path = lite.write("merchant.toml", setup_text({"endpoint": "http://127.0.0.1:9/x"}, **changes))
    said = lite("setup", path).refusal
    assert says in said
    assert "there is none yet" in lite("import", lite.write("people.csv", f"{HEADER}\n{ROW}")).refusal


PAYMENTZ = {
    "endpoint": "https://secure.brand.example",
    "member_id": "99344",
    "partner_id": "99",
    "username": "gym",
    "secret_key": "very-secret",
    "to_type": "brand",
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"member_id": ""}, "paymentz needs the setting member_id"),
        ({"endpoint": "http://secure.brand.example"}, "paymentz setting endpoint cannot be"),
        ({"endpoint": "https://secure.brand.example/x"}, "paymentz setting endpoint cannot be"),
        ({"secret_key": "null"}, "paymentz setting secret_key cannot be: it is the word"),
        ({"secret_key": " very-secret"}, "paymentz setting secret_key cannot be: it begins or ends with a blank"),
        ({"repeat_parent_states": "paid"}, "paymentz setting repeat_parent_states cannot be 'paid': it is a list of"),
        ({"repeat_via": "card"}, "paymentz setting repeat_via cannot be 'card': it is tracking_id or token"),
        ({"accept_null_key": "yes"}, "paymentz has no setting accept_null_key; it knows endpoint, "),
    ],
)
def test_a_paymentz_account_that_cannot_be_is_named_in_one_line(
    lite: Shell, changes: dict[str, str], says: str
) -> None:
    text = setup_text(PAYMENTZ | changes, gateway='"paymentz"')
    without = text.replace('merchant_id = "90001"\n', "").replace('password = "x"\n', "")
    said = lite("setup", lite.write("merchant.toml", without)).refusal
    assert said.startswith(f"turnus: gateway account 'main': {says}")
    assert "very-secret" not in said


def test_a_file_that_is_no_toml_or_has_unknown_words_is_refused(lite: Shell) -> None:
    assert "it is not TOML" in lite("setup", lite.write("a.toml", "[merchant")).refusal
    (lite.folder / "b.toml").write_bytes(b"\xff\xfe\x00")
    assert "it is not TOML" in lite("setup", "b.toml").refusal
    text = setup_text({"endpoint": "http://127.0.0.1:9/x"}) + "discount = 3\n"
    assert "plan[0].price[0].discount: Extra inputs are not permitted" in lite("setup", lite.write("c", text)).refusal


def test_a_sold_price_cannot_be_changed_by_setting_up_again(lite: Shell) -> None:
    path = lite.set_up()
    assert lite("setup", path).status == 0
    path.write_text(path.read_text().replace('"25.00"', '"26.00"'))
    said = lite("setup", path).refusal
    assert said == "turnus: price solo/monthly was sold with another amount_minor: add a new price instead"


def test_a_password_is_never_repeated_to_whoever_mistyped_it(lite: Shell) -> None:
    path = lite.write("m.toml", setup_text({"endpoint": "ftp://x", "password": "very-secret"}))
    assert "very-secret" not in lite("setup", path).refusal


# --- the subscribers' file ----------------------------------------------------------


def test_every_wrong_row_is_named_by_line_and_column_and_none_is_taken(lite: Shell) -> None:
    lite.set_up()
    said = lite.enrol(
        ROW,
        ROW.replace("C1", "C2").replace("S1", "S2").replace("2026-01-31", "31.1.2026"),
        ROW.replace("anna@example.net", "anna").replace("S1", "S3"),
        ROW.replace("S1", "").replace("Anna Huber", ""),
        ROW + ",surplus",
    )
    assert (said.status, said.out) == (2, "")
    places = [line.removeprefix("turnus: ").split(":")[1:3] for line in said.err.splitlines()]
    assert places == [
        ["3", " anchor_on"],
        ["3", " billed_until"],
        ["4", " email"],
        ["5", " name"],
        ["5", " subscription"],
        ["6", " row"],
    ]
    assert lite.enrol(ROW).status == 0


def test_blank_lines_and_fields_of_several_lines_do_not_shift_the_lines_named(lite: Shell) -> None:
    lite.set_up()
    said = lite.enrol("", ROW, "", ROW.replace("S1", "S2").replace("solo/monthly", '"solo/\nmonthly"'), "", "x")
    places = [line.removeprefix("turnus: ").split(":")[1:3] for line in said.err.splitlines()]
    assert places == [["8", " row"]]
    said = lite.enrol("", ROW, "", ROW.replace("S1", "S2").replace("monthly", "daily"))
    places = [line.removeprefix("turnus: ").split(":")[1:3] for line in said.err.splitlines()]
    assert places == [["5", " price"]]


def test_what_the_database_knows_better_is_named_by_line_and_column_too(lite: Shell) -> None:
    lite.set_up()
    said = lite.enrol(
        ROW,
        ROW.replace("S1", "S1"),
        ROW.replace("C1", "C3").replace("S1", "S3").replace("solo/monthly", "solo/daily"),
        ROW.replace("C1", "C4").replace("S1", "S4").replace(",main,C4", ",other,C4"),
        ROW.replace("C1", "C5").replace("S1", "S5").replace("2026-01-31,2026", "2026-01-31,2027"),
        "C6,Ben,ben@example.net,S6,solo/monthly,2026-01-31,2026-02-01,main,C6",
        "C7,Ben,ben@example.net,S7,solo/monthly,2026-01-31,2026-01-31,,",
    )
    assert said.status == 2
    reasons = {line.split(":", 2)[1]: line.split(": ", 2)[1:] for line in said.err.replace("turnus: ", "").splitlines()}
    assert reasons["3"] == ["subscription", "'S1' stands here twice"]
    assert reasons["4"][0] == "price"
    assert reasons["5"] == ["account", "there is no gateway account 'other'"]
    assert reasons["7"][0] == "billed_until"
    assert reasons["8"] == ["profile", "customer 'C7' has no stored profile to charge; collect by link"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1: customer: the column is missing"),
        (HEADER, "there is no row below the header"),
        (HEADER.replace("email", "mail"), ":1: mail: there is no such column"),
        (HEADER.replace("email", "name"), ":1: "),
        (f'{HEADER}\n"C1,Anna', ":2: "),
        (f"{HEADER},quantity\n{ROW},half", ":2: quantity: 'half' is not a whole number"),
        (f"{HEADER},quantity\n{ROW},0", ":2: quantity: a quantity is at least 1"),
        (f"{HEADER}\n{ROW.replace(',main,C1', ',main,4444333322221111')}", ":2: profile: it looks like a card number"),
    ],
)
def test_a_file_of_another_shape_is_refused(lite: Shell, text: str, says: str) -> None:
    lite.set_up()
    assert says in lite("import", lite.write("people.csv", text)).refusal


def test_a_file_that_is_not_utf8_is_refused(lite: Shell) -> None:
    lite.set_up()
    (lite.folder / "latin.csv").write_bytes(f"{HEADER}\n{ROW}".replace("Anna", "Änna").encode("latin-1"))
    assert "it is not UTF-8 text" in lite("import", "latin.csv").refusal


def test_a_future_day_is_refused_for_a_live_merchant_only(lite: Shell) -> None:
    lite.set_up()
    assert lite("run", "--on", "2090-01-01").status == 0
    lite.write("merchant.toml", (lite.folder / "merchant.toml").read_text().replace("live = false", "live = true"))
    assert lite("setup", "merchant.toml").status == 0
    for command in ("run", "dun"):
        said = lite(command, "--on", "2091-01-01").refusal
        assert said == "turnus: 2091-01-01 is in the future, and merchant 'gym' is live"


def test_a_merchant_cannot_be_called_like_a_page_of_the_console(lite: Shell) -> None:
    text = setup_text({"endpoint": "http://127.0.0.1:9/x"}).replace('reference = "gym"', 'reference = "sign-in"')
    said = lite("setup", lite.write("merchant.toml", text)).refusal
    assert said == "turnus: no merchant can be called 'sign-in': pages of the console are found by that"
