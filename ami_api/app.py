"""The application: reads settings and a warehouse, gives an ASGI app that answers over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from ami_api import problems
from ami_api.answers import Answering
from ami_api.guard import Buckets, Guard
from ami_api.identity import Doorkeeper, doorkeeper
from ami_api.metrics import Metrics
from ami_api.openapi import document
from ami_api.routes import anomalies, demand_response, meters, poles, quality, status
from ami_api.tail import LiveTail, live_tail_s
from ami_contract.errors import WarehouseError
from ami_contract.settings import Settings
from ami_store.refusals import RefusalCounts
from ami_store.serving import LandedVersion, LastHeard, ServingWarehouse

log = logging.getLogger("ami.api")


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def create_app(
    settings: Settings,
    warehouse: ServingWarehouse,
    *,
    landed: LandedVersion | None = None,
    heard_last: LastHeard | None = None,
    refusals: RefusalCounts | None = None,
    now: Callable[[], datetime] = utc_now,
    door: Doorkeeper | None = None,
) -> FastAPI:
    """The API over a warehouse, which it closes when it ends.

    Args:
        settings: those that begin with `api_`.
        warehouse: what is asked.
        landed: names what is stored, so that events no build has seen are told; None: they are
            not.
        heard_last: newest readings of the storage; None where asking costs too much.
        refusals: counts of refused readings; None where they cannot be asked from here.
        now: clock.
        door: who may come in; None: as the settings say.
    """
    metrics = Metrics()
    answering = Answering(
        warehouse,
        metrics,
        threads=settings.api_query_threads,
        timeout_s=settings.api_query_timeout_s,
        cache_bytes=settings.api_cache_bytes,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(_look, warehouse, metrics)
        watching = asyncio.create_task(_watch(warehouse, metrics))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await asyncio.to_thread(answering.close)
            await asyncio.to_thread(warehouse.close)

    app = FastAPI(
        title="AMI 2.0 analytics",
        lifespan=lifespan,
        # Their pages would load scripts from another site.
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.answering = answering
    app.state.metrics = metrics
    app.state.tail = LiveTail(landed, live_tail_s(settings), now) if landed else None
    app.state.heard_last = heard_last
    app.state.refusals = refusals
    app.state.now = now
    app.state.ready_max_age_s = settings.api_ready_max_age_s
    for routes in (status, poles, anomalies, meters, quality, demand_response):
        app.include_router(routes.router)
    problems.install(app)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    app.add_middleware(
        Guard,
        doorkeeper=door or doorkeeper(settings),
        buckets=Buckets(settings.api_requests_per_s),
        metrics=metrics,
        most_body_bytes=settings.api_max_body_bytes,
        logs=settings.api_access_log,
    )
    if settings.api_cors_origin_list:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.api_cors_origin_list),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "X-API-Key"],
            expose_headers=["ETag", "Link", "Retry-After"],
            max_age=600,
        )
    return app


async def _watch(warehouse: ServingWarehouse, metrics: Metrics) -> None:
    told = ""
    while True:
        await asyncio.sleep(warehouse.check_every_s)
        told = await asyncio.to_thread(_look, warehouse, metrics, told)


def _look(warehouse: ServingWarehouse, metrics: Metrics, told: str = "") -> str:
    """Attach what is new; returns the trouble that there is, which is logged once."""
    try:
        if not warehouse.refresh():
            return ""
        with warehouse.lease() as snapshot:
            log.info("serving the warehouse published at %s", snapshot.published_at.isoformat())
            metrics.attached(snapshot.published_at.timestamp())
    except WarehouseError as error:
        if str(error) != told:
            log.warning("%s", error)
            metrics.attached(0)
        return str(error)
    return ""
