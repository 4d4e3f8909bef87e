"""Times and lengths as people read them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from qasir.cli.tables import clock, length_of
from qasir.client.results import Video


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0:00.0"), (59.96, "1:00.0"), (3599.99, "1:00:00.0")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_damaged_video_shows_how_much_of_it_is_searched() -> None:
    whole = Video("v1", "a", "ready", 60.0, 64, 48, "h264", 9, datetime.now(UTC), 59.5)
    assert length_of(whole) == "1:00.0"
    assert length_of(replace(whole, indexed_seconds=9.0)) == "1:00.0 (0:09.0 readable)"
    assert length_of(replace(whole, indexed_seconds=0.0, state="queued")) == "1:00.0"
    assert length_of(replace(whole, duration=0.0, state="failed")) == ""
