"""Start the service from a checkout: `python -m service.http`."""

import os
import sys

from qasir.errors import QasirError
from service.catalogue.catalogue import Catalogue
from service.settings import load_settings
from service.stack.processes import Port, refuse_taken

SERVICE = "service.http.bento:Qasir"


def main() -> int:
    """Become `bentoml serve` with the settings' host, port and state folder."""
    try:
        settings = load_settings()
        # Its processes share this port, and so would those of another service.
        refuse_taken([Port(settings.host, settings.grpc_port, "QASIR_GRPC_PORT")])
        settings.folders.create()
        # BentoML would show the error of a process of its own as a traceback, again and again.
        Catalogue(settings.folders.catalogue).close()
    except QasirError as error:
        print(f"qasir service: {error}", file=sys.stderr)  # noqa: T201  # a command's last word
        return 2
    # BentoML keeps temporary state under its home and empties it at start: never share it.
    os.environ["BENTOML_HOME"] = str(settings.folders.bentoml)
    os.environ["BENTOML_DO_NOT_TRACK"] = "1"
    os.environ["QASIR_STATE"] = str(settings.folders.root)
    where = ["--host", settings.host, "--port", str(settings.http_port)]
    # As a process, so that one signal to it reaches BentoML, which it has become.
    return os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", SERVICE, *where])


if __name__ == "__main__":
    sys.exit(main())
