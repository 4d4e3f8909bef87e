"""The pipeline from annotations and videos to an exported model, one folder per step."""

from qasir.threads import use_one_thread

use_one_thread()
