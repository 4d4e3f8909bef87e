"""Write every dashboard's JSON: `python -m monitoring.dashboards`."""

from pathlib import Path

from monitoring.dashboards import BOARDS
from monitoring.dashboards.grafana import rendered

FOLDER = Path(__file__).resolve().parents[1] / "grafana" / "dashboards"


def main() -> None:
    """Write the file of every board and remove all others."""
    files = {f"{board.uid}.json": rendered(board) for board in BOARDS}
    for old in FOLDER.glob("*.json"):
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
