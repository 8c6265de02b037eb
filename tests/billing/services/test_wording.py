"""What broke, as whoever looks into a doubt reads it, and as the log has it."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from billing.gateway import ConfigurationError, MisuseError, UnsupportedError
from billing.models import Attempt
from billing.services.wording import words_for
from billing.vault import VaultError
from tests.billing.services.support import World, explode

_BROKEN = "something unexpected broke in Turnus, and its log says where"


@pytest.mark.parametrize("kind", [MisuseError, UnsupportedError, ConfigurationError, VaultError])
def test_an_error_of_ours_is_told_in_its_own_words_alone(kind: type[Exception]) -> None:
    with capture_logs() as logs:
        assert words_for(kind("this account has no contract for USD")) == "this account has no contract for USD"
    assert logs == []


@pytest.mark.parametrize(
    ("error", "says"), [(RuntimeError("broken"), f"{_BROKEN}: broken"), (AssertionError(), _BROKEN)]
)
def test_what_nobody_expected_is_a_sentence_and_the_log_has_the_rest(error: Exception, says: str) -> None:
    with capture_logs() as logs:
        assert words_for(error) == says
    [entry] = logs
    assert (entry["log_level"], entry["exc_info"]) == ("error", error)


async def test_no_evidence_of_a_doubt_names_a_class(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = explode
    await world.run()
    [attempt] = await world.rows(Attempt)
    assert (attempt["state"], attempt["evidence"]) == ("unknown", f"{_BROKEN}: the adapter is broken")
