"""`python -m service.stack`, which `qasir up` and `qasir down` run."""

from qasir.cli.terminal import run
from service.observability.logs import configure_logs
from service.stack.control import app

# To standard error, because standard output is for the answer.
configure_logs("stack")
run(app, "python -m service.stack")
