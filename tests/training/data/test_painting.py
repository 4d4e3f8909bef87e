"""Pixels: every kind of background, and sprites that are where the plan has them."""

from dataclasses import replace

import numpy as np
import pytest

from qasir.config import DemoParams
from training.data.demo_corpus import paint, paint_background
from training.data.scenes import (
    BACKGROUNDS,
    Actor,
    Background,
    Concept,
    Film,
    Scene,
    choose_concepts,
    plan_film,
)

APPLE = Concept(0x1F34E, "red apple")
BLUE = Background("gradient", ((0, 0, 90), (0, 0, 90)), (0.0, 0.0), 1)


def film_of(*actors: Actor) -> Film:
    return Film("a", (Scene(0, 5, actors, BLUE, "a red apple"),))


def test_a_film_has_every_frame_of_its_plan(demo: DemoParams) -> None:
    film = plan_film("a", choose_concepts(20, 1), demo, 1)
    frames = list(paint(film, demo.width, demo.height))
    assert len(frames) == film.frames
    assert {(f.shape, f.dtype) for f in frames} == {((64, 96, 3), np.dtype(np.uint8))}


def test_a_sprite_is_centred_where_the_plan_has_it() -> None:
    actor = Actor(APPLE, 32, (30.0, 30.0), (66.0, 34.0), turn=0.0)
    for share, frame in zip(np.linspace(0, 1, 5), paint(film_of(actor), 96, 64), strict=True):
        rows, columns = np.nonzero((frame != (0, 0, 90)).any(-1))
        middle = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
        assert middle == pytest.approx((30 + 36 * share, 30 + 4 * share), abs=3)
        assert 18 <= columns.max() - columns.min() <= 32


def test_a_sprite_past_the_border_is_cut_off_not_wrapped() -> None:
    actor = Actor(APPLE, 32, (0.0, 0.0), (0.0, 0.0), turn=20.0)
    frame = next(paint(film_of(actor), 96, 64))
    assert (frame[:8, :8] != (0, 0, 90)).any()
    assert (frame[32:, 32:] == (0, 0, 90)).all()


def test_turning_keeps_the_centre() -> None:
    still = Actor(APPLE, 40, (48.0, 32.0), (48.0, 32.0), turn=0.0)
    upright = next(paint(film_of(still), 96, 64))
    turned = next(paint(film_of(replace(still, turn=40.0)), 96, 64))
    assert (upright != turned).any()
    assert upright[32, 48] == pytest.approx(turned[32, 48], abs=12)


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_a_background_mixes_its_two_colours_by_its_seed(kind: str) -> None:
    background = Background(kind, ((10, 20, 30), (200, 20, 30)), (0.0, 0.0), 5)
    painted = paint_background(background, 96, 64)
    assert painted.shape == (64, 96, 3)
    assert np.ptp(painted[..., 0]) > 60
    assert (painted[..., 1:] == (20, 30)).all()
    assert (painted == paint_background(background, 96, 64)).all()
    assert (painted != paint_background(replace(background, seed=6), 96, 64)).any()
