"""`python -m service.models`, which `qasir models` runs."""

from qasir.cli.terminal import run
from service.models.admin import app

run(app, "qasir models")
