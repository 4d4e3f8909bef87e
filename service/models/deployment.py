"""Which model sets are served, in which part: the one file that all processes follow."""

from qasir.config import Strict

SERVING_NAME = "serving.json"


class Reranker(Strict):
    """A model set that scores the `k` best of mode hybrid again, at a grid size of its own."""

    version: int
    grid_size: int
    k: int


class Serving(Strict):
    """What is served: replaced as a whole, so that everybody sees a change at one moment.

    active: searches are answered by it; previous: was active before, to go back to; beside: kept
    complete, too, `previous` among them; fine: for mode hybrid, where the active profile does not
    name itself; then: becomes active once it is complete; next: about to become active, so that
    every process reads its vectors beforehand.
    """

    active: int
    previous: int | None = None
    beside: tuple[int, ...] = ()
    fine: Reranker | None = None
    then: int | None = None
    next: int | None = None

    @property
    def kept(self) -> tuple[int, ...]:
        """The versions that every video has vectors of, or will have."""
        return (self.active, *self.beside)

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that Triton loads."""
        fine = [self.fine.version] if self.fine else []
        return tuple(sorted({*self.kept, *fine}))

    def activated(self, version: int, fine: Reranker | None = None) -> "Serving":
        """This version active, and the one that was active beside it."""
        changed = version != self.active
        beside = {*self.kept} - {version}
        return Serving(
            active=version,
            previous=self.active if changed else self.previous,
            beside=tuple(sorted(beside)),
            fine=fine,
            then=None if self.then == version else self.then,
        )

    def without(self, version: int) -> "Serving":
        """This version, which is not active, kept no longer."""
        update = {"beside": tuple(v for v in self.beside if v != version)}
        names = ("previous", "then", "next")
        cleared = {name: None for name in names if getattr(self, name) == version}
        return self.model_copy(update={**update, **cleared})
