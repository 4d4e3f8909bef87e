"""Times and lengths as people read them."""

import pytest

from qasir.cli.tables import clock, length_of
from qasir.contract.videos import Video
from tests.support.scripted import VIDEO


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0:00.0"), (59.96, "1:00.0"), (3599.99, "1:00:00.0")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_damaged_video_shows_how_much_of_it_is_searched() -> None:
    whole = Video.model_validate({**VIDEO, "duration": 60.0, "indexed_seconds": 59.5})
    assert length_of(whole) == "1:00.0"
    damaged = whole.model_copy(update={"indexed_seconds": 9.0})
    assert length_of(damaged) == "1:00.0 (0:09.0 readable)"
    queued = whole.model_copy(update={"indexed_seconds": 0.0, "state": "queued"})
    assert length_of(queued) == "1:00.0"
    failed = whole.model_copy(update={"duration": 0.0, "state": "failed"})
    assert length_of(failed) == ""
