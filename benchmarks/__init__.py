"""Speed as ratios, measured as the service runs."""

from qasir.threads import use_one_thread

use_one_thread()
