"""The ingest worker: `python -m service.ingest`.

Imports wait until `main`: every decode process imports this file again, as the main
module of the process it was started from, and needs nothing of it.
"""

import sys


def main() -> int:
    """Run until SIGTERM or SIGINT; 2 where the settings are wrong or another worker runs."""
    from qasir.errors import QasirError
    from service.ingest.process import run_worker

    try:
        run_worker()
    except QasirError as error:
        print(f"qasir worker: {error}", file=sys.stderr)  # noqa: T201  # a command's last word
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
