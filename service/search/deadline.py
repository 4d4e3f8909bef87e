"""How long a request may still take, from its arrival to its last call of Triton."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from qasir.errors import Overloaded


@dataclass(frozen=True)
class Deadline:
    """The moment at which a request has taken `seconds`; every step gets what is left."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    ends: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ends", self.clock() + self.seconds)

    def left(self) -> float:
        """Return the seconds until then.

        Raises:
            Overloaded: none are left.
        """
        left = self.ends - self.clock()
        if left <= 0:
            raise Overloaded(
                f"no answer within {self.seconds:.3g} s; try again later, or with a longer deadline"
            )
        return left
