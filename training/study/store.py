"""Stores finished trials, one file per trial and seed, so that nothing runs twice.

`build/study/ranks/<digest>.npz` holds arrays by name. The digest covers the trial, the seed and
every parameter that affects them; other parameters make other files.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from qasir.artifacts import atomic_write
from qasir.config import Params
from training.study.plan import Trial

# Ranks int64 [Q], scores float32 [Q, V] or one number.
Stored: TypeAlias = "np.ndarray[Any, Any]"


class Store:
    """Results of trials in a folder."""

    def __init__(self, folder: Path, params: Params) -> None:
        self._folder = folder
        self._facts = params.model_dump(mode="json", include={"prepare", "encode", "finetune"})

    def get(self, trial: Trial, seed: int) -> Mapping[str, Stored] | None:
        """Reads the results of a trial; None if it is not finished."""
        try:
            # The file is opened here: np.load leaves one that it cannot read open.
            with (
                self._path(trial, seed).open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, trial: Trial, seed: int, results: Mapping[str, Stored]) -> None:
        """Writes the results of a trial; after this returns they survive an interruption."""
        with atomic_write(self._path(trial, seed)) as file:
            np.savez_compressed(file, allow_pickle=False, **dict(results))

    def _path(self, trial: Trial, seed: int) -> Path:
        facts: dict[str, Any] = {**trial.key, "seed": seed, "params": self._facts}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{digest[:20]}.npz"
