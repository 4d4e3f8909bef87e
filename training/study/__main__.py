"""`python -m training.study`: run what is missing of the study, then write results from it.

Resumable: a trial and seed that is done is not done again, whenever the study was stopped.
"""

from pathlib import Path

from qasir.config import load_params
from training.progress import console
from training.results import RESULTS
from training.rows import plain, write_json
from training.study import plots, report
from training.study.bars import bars
from training.study.hybrid import hybrid_rows
from training.study.outcome import Outcome
from training.study.plan import trials
from training.study.run import Workshop, run_trial
from training.study.store import Store

FOLDER = Path("build/study")


def main() -> None:
    params = load_params()
    shop = Workshop(params, FOLDER / "features")
    store = Store(FOLDER / "ranks", params)
    planned = list(trials({n: grid.resolution for n, grid in params.grids.items()}))
    todo = [(trial, seed) for trial in planned for seed in trial.seeds]
    for number, (trial, seed) in enumerate(todo, start=1):
        if store.get(trial, seed) is None:
            console.print(f"{number} of {len(todo)}: {trial}, seed {seed}")
            store.put(trial, seed, run_trial(shop, trial, seed))
    write_outcome(Outcome.of(planned, store, shop), RESULTS)


def write_outcome(outcome: Outcome, folder: Path) -> None:
    """Write every file of the study, its pictures and the page."""
    found = {
        "study": list(outcome.study_rows()),
        "ablation": list(outcome.ablation_rows()),
        "hybrid": list(hybrid_rows(outcome)),
        "differences": list(bars(outcome)),
    }
    for name, rows in found.items():
        write_json(rows, folder / f"{name}.json")
    # Drawn from the same rounded numbers that everybody else reads.
    study, ablation, hybrid, _ = (plain(rows) for rows in found.values())
    plots.plot_cost(study, folder / "cost.svg")
    grids = {n: grid.resolution for n, grid in outcome.shop.params.grids.items()}
    plots.plot_units(study, grids, folder / "units.svg")
    plots.plot_ablation(ablation, folder / "ablation.svg")
    plots.plot_hybrid(hybrid, study, folder / "hybrid.svg")
    report.main()


if __name__ == "__main__":
    main()
