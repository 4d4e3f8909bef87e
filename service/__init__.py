"""The service: search, ingest and the life of models, over HTTP and gRPC."""

from qasir.threads import use_one_thread

use_one_thread()
