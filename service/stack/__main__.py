"""`python -m service.stack`, which `qasir up` and `qasir down` run."""

from qasir.cli.terminal import run
from service.stack.control import app

run(app, "python -m service.stack")
