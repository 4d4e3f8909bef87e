"""Plans what each rendered video shows: moments and their captions, from a seed.

Annotations come from the plan, not from pixels, so the same seed gives the same captions and
times byte for byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from qasir.config import DemoParams
from training.data.emoji import Concept

Point = tuple[float, float]
Color = tuple[int, int, int]

BACKGROUNDS = ("gradient", "noise", "stripes", "checks", "dots")
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
    lanes = _lanes(random, len(shown))
    actors = tuple(
        _actor(random, concept, side, (start, end), lane, demo)
        for concept, side, lane in zip(shown, sides, lanes, strict=True)
    )
    return Scene(
        first_frame, frames, actors, background, _caption(random, shown, words, background)
    )


def _lanes(random: Random, count: int) -> list[Point]:
    """Shifts each actor's path so that two actors overlap at most in part."""
    if count == 1:
        return [(random.uniform(-0.3, 0.3), random.uniform(-0.3, 0.3))]
    return [(-0.35, random.uniform(-0.4, 0.0)), (0.35, random.uniform(0.0, 0.4))]


def _actor(
    random: Random,
    concept: Concept,
    side: int,
    path: tuple[Point, Point],
    lane: Point,
    demo: DemoParams,
) -> Actor:
    free = (demo.width - side, demo.height - side)

    def pixels(share: Point) -> Point:
        x, y = (min(1.0, max(0.0, s + shift)) for s, shift in zip(share, lane, strict=True))
        return side / 2 + x * free[0], side / 2 + y * free[1]

    turn = random.uniform(-40.0, 40.0)
    return Actor(concept, side, pixels(path[0]), pixels(path[1]), turn)


def _background(random: Random, demo: DemoParams) -> Background:
    kind = random.choice(BACKGROUNDS)
    colors = _colors(random)
    pan = (random.uniform(-0.2, 0.2) * demo.width, random.uniform(-0.2, 0.2) * demo.height)
    return Background(kind, colors, pan, random.getrandbits(32))


def _colors(random: Random) -> tuple[Color, Color]:
    """Draws a random colour and a second one near it."""
    first, other = (tuple(random.randrange(256) for _ in range(3)) for _ in range(2))
    r, g, b = (round(c + CONTRAST * (o - c)) for c, o in zip(first, other, strict=True))
    return (first[0], first[1], first[2]), (r, g, b)


def _caption(random: Random, shown: Sequence[Concept], motion: str, background: Background) -> str:
    nouns = {
        "gradient": "a soft gradient",
        "noise": "a cloudy background",
        "stripes": "a striped background",
        "checks": "a checkered background",
        "dots": "a dotted background",
    }
    template = random.choice(ONE_ACTOR if len(shown) == 1 else TWO_ACTORS)
    return template.format(
        first=shown[0].phrase,
        second=shown[-1].phrase,
        motion=motion,
        background=nouns[background.kind],
    )
