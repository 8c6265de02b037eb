"""The database itself forbids what must not be: every constraint has a row that it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from sqlalchemy import (
    CheckConstraint,
    Constraint,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError

from billing.models import metadata
from tests.conftest import DIALECTS, Databases
from tests.schema.world import Values, World

# For each rule the ways to break it, each as it differs from a valid row.
BREAKS: dict[str, list[Values]] = {
    "ck_allocation_amount_positive": [{"amount_minor": 0}],
    "ck_allocation_one_thing": [{"invoice_id": None}, {"verification_id": 1}],
    "ck_api_key_secret_is_digest": [{"secret_digest": "in clear"}],
    "ck_attempt_amount_positive": [{"amount_minor": 0}],
    "ck_console_session_ends_after_it_began": [{"expires_at": datetime(2026, 11, 21, 2, 0, tzinfo=UTC)}],
    "ck_console_session_token_is_digest": [{"token_digest": "in clear"}],
    "ck_console_user_email_in_small_letters": [{"email": "Anna@example.net"}],
    "ck_console_user_password_is_hashed": [{"password_hash": "in clear"}],
    "ck_console_user_second_factor_is_whole": [{"sealed_totp": None}],
    "ck_idempotency_answer_is_whole": [{"status": None}, {"sealed_answer": None}],
    "ck_invoice_line_adds_up": [{"total_minor": 121}],
    "ck_invoice_paid_has_time": [{"state": "paid"}],
    "ck_invoice_step_has_day": [{"next_step": "retry"}],
    "ck_invoice_total_positive": [{"total_minor": 0}],
    "ck_merchant_link_days_positive": [{"link_days": 0}],
    "ck_merchant_sandbox_has_clock": [{"live": True}],
    "ck_merchant_verification_positive": [{"verification_minor": 0}],
    "ck_notification_archived_is_over": [{"archived_at": datetime(2026, 11, 21, 2, 0, tzinfo=UTC)}],
    "ck_number_series_next_positive": [{"next_value": 0}],
    "ck_operation_amount_positive": [{"amount_minor": 0}],
    "ck_pay_link_one_thing": [{"invoice_id": None}, {"verification_id": 1}],
    "ck_posting_not_zero": [{"amount_minor": 0}],
    "ck_price_amount_positive": [{"amount_minor": 0}],
    "ck_price_interval_positive": [{"interval_count": 0}],
    "ck_price_tax_sane": [{"tax_rate_bp": 10_001}, {"tax_rate_bp": -1}],
    "ck_price_trial_sane": [{"trial_days": -1}],
    "ck_sign_in_failure_count_not_negative": [{"count": -1}],
    "ck_subscription_charge_has_profile": [{"profile_id": None}],
    "ck_subscription_due_while_billable": [{"next_due_on": None}, {"state": "paused"}, {"state": "canceled"}],
    "ck_subscription_period_not_negative": [{"next_period": -1}],
    "ck_subscription_quantity_positive": [{"quantity": 0}],
    "ck_verification_amount_positive": [{"amount_minor": 0}],
    "ck_webhook_delivery_delivered_has_time": [{"state": "delivered"}],
    "ck_webhook_endpoint_old_secret_ends": [{"sealed_old_secret": None}, {"old_secret_until": None}],
}

# What a row must be besides, so that it breaks this constraint and no other.
BESIDES: dict[str, Values] = {
    "ck_subscription_state_known": {"next_due_on": None},
    "fk_allocation_verification_id": {"invoice_id": None},
    "fk_pay_link_verification_id": {"invoice_id": None},
    "uq_operation_key": {"state": "approved"},
}

# What the rules of the house promise, in their words.
PROMISES = {
    "two invoices for one subscription period and kind": "uq_invoice_subscription_id_period_number_kind",
    "an invoice number used twice": "uq_invoice_merchant_id_number",
    "a number series begun twice": "uq_number_series_merchant_id_prefix",
    "two holders of one charge right": "pk_charge_right",
    "two attempts under one key": "uq_attempt_key",
    "the same try of an owed thing made twice": "uq_attempt_owed_key_number",
    "two open operations on one payment": "uq_operation_one_open",
    "two operations under one key": "uq_operation_key",
    "two open runs of one merchant": "uq_run_one_open",
    "one subscription decided twice in a run": "pk_decision",
    "the same news posted twice": "pk_posting",
    "one message for a cause, step and recipient queued twice": "uq_message_cause_step_recipient",
    "the same notification stored twice": "uq_notification_gateway_account_id_digest",
    "one profile stored twice": "uq_profile_gateway_account_id_reference_digest",
    "the same task asked for twice": "uq_task_one_open",
    "two API keys of one name": "uq_api_key_prefix",
    "one idempotency key claimed twice": "pk_idempotency",
    "two users of the console with one address": "uq_console_user_email",
    "a user with two roles for one merchant": "pk_membership",
    "two sessions with one token": "uq_console_session_token_digest",
    "two events of one name": "uq_event_uid",
    "one event queued twice for an endpoint": "uq_webhook_delivery_event_id_endpoint_id",
}

# Rows that share with another what only open ones must not share.
ALLOWED = [
    ("uq_operation_one_open", {"state": "approved"}),
    ("uq_run_one_open", {"state": "finished"}),
    ("uq_run_one_open", {"state": "aborted"}),
    ("uq_task_one_open", {"state": "done"}),
]

Kind = TypeVar("Kind", bound=Constraint | Index)
Unique = UniqueConstraint | PrimaryKeyConstraint | Index


def _named(kind: type[Kind]) -> dict[str, tuple[Table, Kind]]:
    return {
        str(item.name): (table, item)
        for table in metadata.sorted_tables
        for item in (*table.constraints, *table.indexes)
        if isinstance(item, kind)
    }


CHECKS = _named(CheckConstraint)
WORDS = sorted(name for name in CHECKS if name.endswith("_known"))
REFERENCES = _named(ForeignKeyConstraint)
# An index that holds the whole primary key promises nothing of its own: it is what others refer to.
UNIQUES: dict[str, tuple[Table, Unique]] = (
    _named(UniqueConstraint)
    | _named(PrimaryKeyConstraint)
    | {
        name: (table, index)
        for name, (table, index) in _named(Index).items()
        if index.unique and not set(table.primary_key.columns) <= set(index.columns)
    }
)


@pytest.fixture(params=DIALECTS, scope="module")
def world(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with databases.migrated(request.param, tmp_path_factory.mktemp("world")) as address:
        url = make_url(address)
        engine = create_engine(url.set(drivername="sqlite") if request.param == "sqlite" else url)
        if request.param == "sqlite":
            event.listen(engine, "connect", _watch_foreign_keys)
        with engine.connect() as connection:
            yield World(connection)
            connection.rollback()
        engine.dispose()


def _watch_foreign_keys(connection: DBAPIConnection, _: object) -> None:
    connection.cursor().execute("PRAGMA foreign_keys=ON")


def forbids(world: World, name: str, table: Table, row: Values, sqlite_says: str) -> None:
    """Fail unless the database refuses the row because of the constraint with the name."""
    with pytest.raises(IntegrityError) as refused, world.connection.begin_nested():
        world.add(table, row)
    origin: Any = refused.value.orig
    if world.connection.dialect.name == "postgresql":
        assert origin.diag.constraint_name == name
    else:
        assert sqlite_says in str(origin)


def clash(world: World, name: str, **changed: Any) -> tuple[Table, Values, str]:
    """Return a row that shares with the world's own just what the constraint says is unique."""
    table, unique = UNIQUES[name]
    columns = [column.name for column in unique.columns]
    shared = {column: world.rows[table.name][column] for column in columns}
    says = f"UNIQUE constraint failed: {', '.join(f'{table.name}.{column}' for column in columns)}"
    return table, world.another(table, **shared) | changed, says


@pytest.mark.parametrize("name", sorted(BREAKS))
def test_a_rule_refuses_the_row_that_breaks_it(world: World, name: str) -> None:
    table, _ = CHECKS[name]
    for change in BREAKS[name]:
        forbids(world, name, table, world.another(table, **change), f"CHECK constraint failed: {name}")


@pytest.mark.parametrize("name", WORDS)
def test_a_column_of_known_words_refuses_any_other(world: World, name: str) -> None:
    table, _ = CHECKS[name]
    column = name.removeprefix(f"ck_{table.name}_").removesuffix("_known")
    row = world.another(table, **{column: "nonsense"}, **BESIDES.get(name, {}))

    forbids(world, name, table, row, f"CHECK constraint failed: {name}")


@pytest.mark.parametrize("name", sorted(UNIQUES))
def test_what_is_unique_cannot_be_there_twice(world: World, name: str) -> None:
    table, row, says = clash(world, name, **BESIDES.get(name, {}))

    forbids(world, name, table, row, says)


@pytest.mark.parametrize("promise", PROMISES)
def test_the_database_has_a_constraint_for_every_promise(promise: str) -> None:
    assert PROMISES[promise] in UNIQUES


@pytest.mark.parametrize(("name", "changed"), ALLOWED)
def test_what_is_over_does_not_stand_in_the_way(world: World, name: str, changed: Values) -> None:
    table, row, _ = clash(world, name, **changed)

    with world.connection.begin_nested() as savepoint:
        world.add(table, row)
        savepoint.rollback()


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_a_reference_to_nothing_is_refused(world: World, name: str) -> None:
    table, key = REFERENCES[name]
    row = world.another(table, **dict.fromkeys(key.column_keys, 999_999), **BESIDES.get(name, {}))

    forbids(world, name, table, row, "FOREIGN KEY constraint failed")


@pytest.mark.parametrize("column", ["customer_id", "merchant_id"])
def test_a_posting_belongs_to_whom_its_invoice_belongs_to(world: World, column: str) -> None:
    name = "fk_posting_customer_id_merchant_id_invoice_id"
    table, _ = REFERENCES[name]

    forbids(world, name, table, world.another(table, **{column: 999_999}), "FOREIGN KEY constraint failed")


def test_every_rule_has_a_row_that_breaks_it() -> None:
    assert set(CHECKS) - set(WORDS) == set(BREAKS)
