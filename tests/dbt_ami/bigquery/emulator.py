"""A BigQuery server on this machine: takes rows of dbt's sources, gives a port for dbt-bigquery.

The server is `bqemulator`, in an environment of its own (`emulator.lock`): DuckDB behind
BigQuery's REST interface. It needs DuckDB's spatial extension, which comes as a package.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

START_TIMEOUT_S = 60.0
ROWS_PER_REQUEST = 500
# Copies the packaged extension to where DuckDB looks for installed ones.
INSTALL_EXTENSION = """
import duckdb, duckdb_extension_spatial, pathlib, shutil, sys
(name,) = duckdb.execute("PRAGMA platform").fetchone()
(found,) = pathlib.Path(duckdb_extension_spatial.__file__).parent.glob("extensions/*/*")
home = pathlib.Path(sys.argv[1]) / ".duckdb" / "extensions" / found.parent.name / name
home.mkdir(parents=True)
shutil.copy(found, home)
"""


@contextmanager
def running_emulator(python: Path, folder: Path) -> Iterator[int]:
    """Port of a fresh emulator on the loopback interface; it ends with the block.

    Raises:
        RuntimeError: the server did not come up; its log's end is in the message.
    """
    home = folder / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    subprocess.run([str(python), "-c", INSTALL_EXTENSION, str(home)], env=environment, check=True)
    port, grpc_port = free_port(), free_port()
    log = folder / "emulator.log"
    command = [str(python.with_name("bqemulator")), "start"]
    command += ["--rest-host", "127.0.0.1", "--rest-port", str(port)]
    command += ["--grpc-host", "127.0.0.1", "--grpc-port", str(grpc_port)]
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        _wait_until_it_answers(server, port, log)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the BigQuery emulator did not start: {log.read_text()[-2000:]}")


def emulator_client(port: int) -> bigquery.Client:
    """Google's own client, pointed at the emulator."""
    return bigquery.Client(
        project="ami-judge",
        location="US",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=f"http://127.0.0.1:{port}"),
    )


def load_table(client: bigquery.Client, table: bigquery.Table, rows: list[dict[str, Any]]) -> None:
    """Make `table` in the emulator and insert `rows` (JSON values)."""
    client.create_dataset(table.dataset_id, exists_ok=True)
    made = client.create_table(table)
    for first in range(0, len(rows), ROWS_PER_REQUEST):
        refused = client.insert_rows_json(made, rows[first : first + ROWS_PER_REQUEST])
        if refused:
            raise RuntimeError(f"the emulator refuses rows of {table.table_id}: {refused[:3]}")
