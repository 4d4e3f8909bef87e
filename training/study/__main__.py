"""`python -m training.study`: runs what is missing of the study, then writes its results.

Resumable: a finished trial and seed never runs again, whenever the study was stopped.
"""

from pathlib import Path

from qasir.config import load_params
from training.evaluate.rows import write_json
from training.outputs import RESULTS
from training.progress import console
from training.study.outcome import Outcome, claims, hybrid_rows
from training.study.plan import Store, trials
from training.study.report import write_page
from training.study.run import StudyContext, run_trial

FOLDER = Path("build/study")


def main() -> None:
    params = load_params()
    context = StudyContext(params, FOLDER / "features")
    store = Store(FOLDER / "ranks", params)
    planned = list(trials({n: grid.resolution for n, grid in params.grids.items()}))
    todo = [(trial, seed) for trial in planned for seed in trial.seeds]
    for number, (trial, seed) in enumerate(todo, start=1):
        if store.get(trial, seed) is None:
            console.print(f"{number} of {len(todo)}: {trial}, seed {seed}")
            store.put(trial, seed, run_trial(context, trial, seed))
    outcome = Outcome.of(planned, store, context)
    write_json(list(outcome.study_rows()), RESULTS / "study.json")
    write_json(list(outcome.ablation_rows()), RESULTS / "ablation.json")
    write_json(list(hybrid_rows(outcome)), RESULTS / "hybrid.json")
    write_json(list(claims(outcome)), RESULTS / "differences.json")
    write_page(RESULTS)


if __name__ == "__main__":
    main()
