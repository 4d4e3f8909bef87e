"""Start the service from a checkout: `python -m service.http`."""

import os
import sys

from qasir.errors import QasirError
from service.catalogue.catalogue import Catalogue
from service.processes import Port, refuse_taken
from service.settings import load_settings

SERVICE = "service.http.bento:Qasir"


def main() -> int:
    """Replace this process by `bentoml serve`, with the settings' host, port and state folder."""
    try:
        settings = load_settings()
        # The processes of one service share this port, and a second service would join them.
        refuse_taken([Port(settings.host, settings.grpc_port, "QASIR_GRPC_PORT")])
        settings.folders.create()
        # BentoML would show the error of a process of its own as a traceback, again and again.
        Catalogue(settings.folders.catalogue).close()
    except QasirError as error:
        print(f"qasir service: {error}", file=sys.stderr)  # noqa: T201 - the error of a command
        return 2
    # BentoML empties its home at start, so two services must never share one.
    os.environ["BENTOML_HOME"] = str(settings.folders.bentoml)
    os.environ["BENTOML_DO_NOT_TRACK"] = "1"
    os.environ["QASIR_STATE"] = str(settings.folders.root)
    address = ["--host", settings.host, "--port", str(settings.http_port)]
    # exec, so that a signal to this process reaches BentoML.
    return os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", SERVICE, *address])


if __name__ == "__main__":
    sys.exit(main())
