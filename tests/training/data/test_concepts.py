"""Concepts: which pictures may be named, and that the choice follows the seed."""

import unicodedata

import pytest

from qasir.errors import InvalidConfig
from training.data.scenes import UNICODE_15, all_concepts, choose_concepts, sprite


def test_every_concept_is_one_named_picture_of_its_own() -> None:
    concepts = all_concepts()
    assert len(concepts) > 800
    assert len({c.name for c in concepts}) == len(concepts)
    assert all(c.name == unicodedata.name(chr(c.code)).lower() for c in concepts)


def test_parts_signs_and_lookalikes_are_left_out() -> None:
    codes = {c.code for c in all_concepts()}
    skin_tone, clock_face, red_circle, scales_sign = 0x1F3FB, 0x1F550, 0x1F534, 0x264E
    assert codes.isdisjoint({skin_tone, clock_face, red_circle})
    assert codes.isdisjoint(UNICODE_15)
    assert {0x1F418, 0x1F34E, scales_sign} <= codes


def test_the_choice_follows_the_seed() -> None:
    assert choose_concepts(40, seed=1) == choose_concepts(40, seed=1)
    assert choose_concepts(40, seed=1) != choose_concepts(40, seed=2)
    assert len(set(choose_concepts(40, seed=1))) == 40


def test_asking_for_more_than_there_are_names_the_limit() -> None:
    with pytest.raises(InvalidConfig, match=r"concepts is 3000, but OpenMoji has \d+ nameable"):
        choose_concepts(3000, seed=1)


def test_a_sprite_is_opaque_inside_and_clear_at_its_corners() -> None:
    picture = sprite(0x1F34E)  # red apple
    side = picture.shape[0]
    assert picture.shape == (side, side, 4)
    assert picture[0, 0, 3] == 0
    red, green, blue, alpha = picture[side * 6 // 10, side // 2]
    assert alpha == 255
    assert red > 150 > max(green, blue)
