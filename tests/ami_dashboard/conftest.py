"""The dashboard over a running API: over the small warehouse, and over a lake built by dbt."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn
from small_warehouse import publish_small
from streamlit.testing.v1 import AppTest
from waiting import wait_until

from ami_api.app import create_app
from ami_cli.processes import free_port
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_dashboard.client import Api
from ami_dashboard.server import APP
from ami_store.refusals import refusal_counts
from ami_store.serving import DuckDbServing, landed_lately

from .show_lake import NOW as SHOW_NOW
from .show_lake import make_show_lake

NOW = datetime(2026, 3, 4, 0, 10, tzinfo=UTC)
Open = Callable[..., AppTest]


@contextmanager
def running_api(data: DataDir, now: datetime, **more: Any) -> Iterator[str]:
    """Address of an API over `data` on a port of its own, with a clock that stands still."""
    settings = Settings(
        data_dir=data.root, api_requests_per_s=0.0, api_access_log=False, log_config=None
    )
    app = create_app(
        settings,
        DuckDbServing(data),
        now=lambda: now,
        refusals=refusal_counts(data),
        **more,
    )
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=port, log_level="warning", access_log=False, log_config=None
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 30, lambda: "the API does not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts APIs that end with the test; gives their addresses."""
    with ExitStack() as stack:

        def start(data: DataDir, **more: Any) -> str:
            return stack.enter_context(running_api(data, **{"now": NOW, **more}))

        yield start


@pytest.fixture(scope="session")
def small_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an API over the small warehouse."""
    data = DataDir(tmp_path_factory.mktemp("small") / "data")
    publish_small(data)
    with running_api(data, NOW) as url:
        yield url


@pytest.fixture
def small_api(small_url: str) -> Iterator[Api]:
    """A client of it."""
    api = Api(small_url)
    yield api
    api.close()


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Runs a page of the dashboard against the API at an address, as by a link."""

    def run(url: str, page: str, **link: str) -> AppTest:
        monkeypatch.setenv("AMI_API_URL", url)
        app = AppTest.from_file(str(APP), default_timeout=30).run()
        if page != "views/fleet.py":
            app.switch_page(page)
        for name, value in link.items():
            app.query_params[name] = value
        return app.run()

    return run


@dataclass(frozen=True)
class Shown:
    """A lake built by dbt and the API over it."""

    data: DataDir
    url: str


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The lake that has something to show on every page; tests must not change it.

    Workers that run side by side share it, as it takes a minute or two to make.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    data = DataDir(folder / "show-lake")
    done = folder / "show-lake.done"
    with (folder / "show-lake.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make_show_lake(data, days=18)
            done.touch()
    with running_api(data, SHOW_NOW, heard_last=landed_lately(data)) as url:
        yield Shown(data, url)
