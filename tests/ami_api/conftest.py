"""The API over the small warehouse, asked in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from small_warehouse import publish_small
from starlette.testclient import TestClient

from ami_api.app import create_app
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_store.serving import DuckDbServing

NOW = datetime(2026, 3, 4, 0, 10, tzinfo=UTC)
Serve = Callable[..., TestClient]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    """The small warehouse, published; tests must not change it."""
    data = DataDir(tmp_path_factory.mktemp("small") / "data")
    publish_small(data)
    return data


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Clients of APIs that end with the test."""
    with ExitStack() as stack:

        def start(data: DataDir, **more: Any) -> TestClient:
            given = {name: value for name, value in more.items() if name.startswith("api_")}
            others = {name: value for name, value in more.items() if name not in given}
            settings = Settings(data_dir=data.root, **given)
            app = create_app(
                settings,
                others.pop("warehouse", None) or DuckDbServing(data),
                now=others.pop("now", lambda: NOW),
                **others,
            )
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start


@pytest.fixture(scope="session")
def api(small: DataDir) -> Iterator[TestClient]:
    """A client of the API over the small warehouse."""
    settings = Settings.model_construct(data_dir=small.root, api_requests_per_s=0.0)
    app = create_app(settings, DuckDbServing(small), now=lambda: NOW)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
