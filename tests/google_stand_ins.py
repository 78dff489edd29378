"""Servers that stand in for Google's APIs, for Google's own clients: gRPC and HTTP on loopback."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud.dataflow_v1beta3.types import (
    GetJobRequest,
    Job,
    JobState,
    ListJobsRequest,
    ListJobsResponse,
    UpdateJobRequest,
)
from google.cloud.monitoring_v3.types import (
    ListTimeSeriesRequest,
    ListTimeSeriesResponse,
    Point,
    TimeInterval,
    TimeSeries,
    TypedValue,
)

from ami_dagster.cloud import GoogleCloud

NOW = datetime(2026, 3, 1, 15, 8, tzinfo=UTC)


class ClockedCloud(GoogleCloud):
    """The project with a clock that moves when somebody waits, in whatever copy of it."""

    waited_s: ClassVar[Counter[str]] = Counter()

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.waited_s[self.endpoint])

    def sleep(self, seconds: float) -> None:
        self.waited_s[self.endpoint] += int(seconds)


Jobs = dict[str, Job]


@dataclass
class Dataflow:
    """Jobs and metrics of a project.

    Attributes:
        jobs: by id.
        metrics: newest value by (metric type, label value).
        asked: filters and updates that were asked for.
        refuse: status that every call is answered with.
        polled: called before a job is told, so that a test can move it on.
        per_page: jobs on a page.
    """

    jobs: Jobs = field(default_factory=dict)
    metrics: dict[tuple[str, str], float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refuse: grpc.StatusCode | None = None
    polled: Callable[[Jobs], None] = lambda jobs: None
    per_page: int = 2

    def put(self, job_id: str, state: str, *, name: str = "ami-ingest", made: int = 1) -> None:
        """Have a job of that state, made in minute `made` of 2026-03-01."""
        self.jobs[job_id] = Job(
            id=job_id,
            name=name,
            location="us-central1",
            current_state=JobState[f"JOB_STATE_{state}"],
            current_state_time=datetime(2026, 3, 1, 0, made, tzinfo=UTC),
            create_time=datetime(2026, 3, 1, 0, made, tzinfo=UTC),
        )

    def list_jobs(self, request: ListJobsRequest) -> ListJobsResponse:
        self.polled(self.jobs)
        found = [job for job in self.jobs.values() if job.name == request.name]
        start = int(request.page_token or 0)
        end = start + self.per_page
        return ListJobsResponse(
            jobs=found[start:end], next_page_token=str(end) if end < len(found) else ""
        )

    def get_job(self, request: GetJobRequest) -> Job:
        self.polled(self.jobs)
        return self.jobs[request.job_id]

    def update_job(self, request: UpdateJobRequest) -> Job:
        assert (request.project_id, request.location) == ("grid", "us-central1")
        self.asked.append(f"{request.job_id} {request.job.requested_state.name}")
        job = self.jobs[request.job_id]
        job.current_state = JobState.JOB_STATE_DRAINING
        return job

    def list_time_series(self, request: ListTimeSeriesRequest) -> ListTimeSeriesResponse:
        self.asked.append(request.filter)
        assert request.interval.end_time > request.interval.start_time
        series = [
            TimeSeries(
                points=[
                    Point(
                        interval=TimeInterval(end_time=request.interval.end_time),
                        value=TypedValue(double_value=value)
                        if metric.endswith("lag")
                        else TypedValue(int64_value=int(value)),
                    ),
                    # An older point that must not be taken.
                    Point(
                        interval=TimeInterval(end_time=request.interval.start_time),
                        value=TypedValue(int64_value=999_999),
                    ),
                ]
            )
            for (metric, label), value in self.metrics.items()
            if f'metric.type="{metric}"' in request.filter and f'="{label}"' in request.filter
        ]
        return ListTimeSeriesResponse(time_series=series)


_METHODS = {
    "google.dataflow.v1beta3.JobsV1Beta3": {
        "ListJobs": ("list_jobs", ListJobsRequest, ListJobsResponse),
        "GetJob": ("get_job", GetJobRequest, Job),
        "UpdateJob": ("update_job", UpdateJobRequest, Job),
    },
    "google.monitoring.v3.MetricService": {
        "ListTimeSeries": ("list_time_series", ListTimeSeriesRequest, ListTimeSeriesResponse),
    },
}


@contextmanager
def serving(dataflow: Dataflow) -> Iterator[str]:
    """Serve Dataflow and Cloud Monitoring; gives host:port."""

    def handler(name: str, request: Any, response: Any) -> grpc.RpcMethodHandler:
        def answer(message: Any, context: grpc.ServicerContext) -> Any:
            if dataflow.refuse is not None:
                context.abort(dataflow.refuse, "refused by the test")
            return getattr(dataflow, name)(message)

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=request.deserialize, response_serializer=response.serialize
        )

    server = grpc.server(ThreadPoolExecutor(4))
    for service, methods in _METHODS.items():
        server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    service, {name: handler(*each) for name, each in methods.items()}
                )
            ]
        )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@dataclass
class Web:
    """What BigQuery, Cloud Storage and the token endpoint answer.

    Attributes:
        tables: rows of a query by a text that it holds: column types, then the rows.
        objects: names of a bucket's files with the time they were written.
        queries: query requests that came.
        problem: status and message that every query is answered with.
    """

    tables: dict[str, tuple[dict[str, str], list[list[Any]]]] = field(default_factory=dict)
    objects: dict[str, datetime] = field(default_factory=dict)
    queries: list[dict[str, Any]] = field(default_factory=list)
    problem: tuple[int, str, str] | None = None
    address: str = ""

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(target)
        if parts.path == "/token":
            return 200, {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}
        if parts.path.startswith("/storage/v1/b/"):
            return 200, self._listed(parse_qs(parts.query))
        assert parts.path.endswith("/queries"), f"{method} {target}"
        return self._queried(json.loads(body))

    def _queried(self, request: dict[str, Any]) -> tuple[int, Any]:
        self.queries.append(request)
        if self.problem:
            status, reason, message = self.problem
            errors = [{"reason": reason, "message": message}]
            return status, {"error": {"code": status, "message": message, "errors": errors}}
        types, rows = next(found for text, found in self.tables.items() if text in request["query"])
        return 200, {
            "jobComplete": True,
            "jobReference": {"projectId": "grid", "jobId": "j", "location": "US"},
            "schema": {"fields": [{"name": n, "type": t} for n, t in types.items()]},
            "rows": [{"f": [{"v": None if v is None else str(v)} for v in row]} for row in rows],
            "totalRows": str(len(rows)),
        }

    def _listed(self, query: dict[str, list[str]]) -> Any:
        prefix = query.get("prefix", [""])[0]
        if "delimiter" in query:
            starts = {f"{prefix}{n.removeprefix(prefix).split('/')[0]}/" for n in self.objects}
            return {"prefixes": sorted(starts)}
        pole, _, choices = unquote(query["matchGlob"][0]).rstrip("}").partition("{")
        folders = [f"{pole}{choice.removesuffix('**')}" for choice in choices.split(",")]
        return {
            "items": [
                {"name": name, "timeCreated": at.isoformat().replace("+00:00", "Z")}
                for name, at in self.objects.items()
                if any(name.startswith(folder) for folder in folders)
            ]
        }


@contextmanager
def serving_web(web: Web) -> Iterator[str]:
    """Serve it; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version: ClassVar[str] = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, found = web.answer(self.command, self.path, body)
            text = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    web.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web.address
    finally:
        server.shutdown()
        server.server_close()


@cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def key_file(folder: Path, address: str) -> Path:
    """A service account's key whose tokens the server at `address` gives out."""
    path = folder / "key.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "grid",
                "private_key_id": "1",
                "private_key": _private_key(),
                "client_email": "dagster@grid.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": f"{address}/token",
            }
        )
    )
    return path
