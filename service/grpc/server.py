"""The gRPC server of one service process, beside HTTP in the same event loop.

Every process listens on the same port, and the kernel gives each new connection to one of them
(SO_REUSEPORT, set explicitly below). Clients may send again what a stopping process has not
answered yet: their connection moves to another process.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import grpc
import structlog
from anyio import to_thread
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection

from qasir.errors import Conflict
from qasir.v1.retrieval_pb2_grpc import add_RetrievalServiceServicer_to_server
from service.grpc.interceptors import SERVICE, ErrorMetricsInterceptor
from service.grpc.servicer import RetrievalService
from service.http.context import Context

# The longest message is a chunk of an upload.
MAX_MESSAGE_BYTES = 4 << 20
HEALTH_SECONDS = 1.0
KEEPALIVE_MS = 60_000

log = structlog.get_logger()


class GrpcServer:
    """RetrievalService, health and reflection on one port."""

    def __init__(
        self, context: Context, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
    ) -> None:
        self._readiness = context.core.readiness
        self._drain_seconds = context.core.settings.drain_seconds
        host, port = context.core.settings.host, context.core.settings.grpc_port
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._server = grpc.aio.server(
            interceptors=[*interceptors, ErrorMetricsInterceptor(context)],
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                # Frees the slots of clients that went away without closing the connection.
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_MS // 3),
            ],
            # Wider than the limit of requests: health checks and reflection count here, too.
            maximum_concurrent_rpcs=2 * context.core.settings.max_requests,
        )
        self._health = health.HealthServicer()
        self._health_task: asyncio.Task[None] | None = None
        add_RetrievalServiceServicer_to_server(RetrievalService(context), self._server)  # type: ignore[no-untyped-call]  # generated
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> None:
        """Start to listen.

        Raises:
            Conflict: another program has the port.
        """
        try:
            self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise Conflict(
                f"{self._address} is taken; stop the program there, or set QASIR_GRPC_PORT"
            ) from error
        await self._set_health()
        await self._server.start()
        self._health_task = asyncio.create_task(self._update_health())
        log.info("grpc listens", address=self._address)

    async def stop(self) -> None:
        """Report not ready, refuse new calls and let running ones finish."""
        await self._health.enter_graceful_shutdown()
        if self._health_task is not None:
            self._health_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._health_task
        await self._server.stop(self._drain_seconds)

    async def _update_health(self) -> None:
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            await self._set_health()

    async def _set_health(self) -> None:
        ready = await to_thread.run_sync(self._readiness.check)
        status = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE):
            await self._health.set(name, status)
