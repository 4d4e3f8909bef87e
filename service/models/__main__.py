"""`python -m service.models`, which `qasir models` runs."""

from qasir.cli.terminal import run
from service.models.admin import app
from service.observability.logs import configure_logs

# To standard error, because standard output is for the answer.
configure_logs("models")
run(app, "qasir models")
