"""Ids that would leave a folder or a statement: refused, or kept where they belong."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ingest_helpers import (
    ARROW,
    BOUNDS,
    JSON,
    arrow_table,
    as_arrow,
    as_json,
    batch,
    dead_letters,
    message,
    reading,
    stored_rows,
)

from ami_contract.lake import DataDir
from ami_store.export import Order, export
from beam_jobs.bounded import BoundedGraph
from beam_jobs.layout import Layout, lay_out
from beam_jobs.pipeline import Ingest

REFUSED = (
    "../../../../tmp/out", "..\\\\out", "/etc/passwd", "a/b", "p1\u0000", "p1\n", " p1", "p1 ",
    "pole_id=p1", "~root", "$HOME", "`id`", "p1;rm", "p*", "p?", "[p]", "%2e%2e", "ｐ1",
    "x'; DROP TABLE readings; --", 'x" OR 1=1 --', "{{ env_var('HOME') }}", "=1+1", "", "p" * 129,
)  # fmt: skip
KEPT = (".", "..", "...", "-rf", "--", ":", "..:", "con", "NUL", "p" * 128)


def outside(data: DataDir) -> list[Path]:
    """Everything beside the data folder."""
    return [path for path in data.root.parent.iterdir() if path != data.root]


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    root = tmp_path / "around" / "data"
    root.mkdir(parents=True)
    return DataDir(root)


def test_no_id_of_the_wire_leaves_its_folder_or_its_statement(data: DataDir) -> None:
    ids = [*REFUSED, *KEPT]
    messages = []
    for number, (name, text) in enumerate(itertools.product(("meter_id", "pole_id"), ids)):
        one = reading(number, **{name: text})
        arrow = number % 2 == 1
        payload = as_arrow(arrow_table(one)) if arrow else as_json(one)
        kind = ARROW if arrow else JSON
        messages.append(message(payload, kind, identity=f"{number}", pole_id=text[:50] or "p"))
    BoundedGraph(Ingest(data.root, BOUNDS)).run([batch(*messages)])

    rows = stored_rows(data)
    assert {row["meter_id"] for row in rows} | {row["pole_id"] for row in rows} == {
        *KEPT, "m1", "p1",
    }  # fmt: skip
    assert len(rows) == 2 * len(KEPT)
    assert len(dead_letters(data)) == 2 * len(REFUSED)

    lay_out(data, Layout(), now=datetime.now(UTC), everything=True)
    assert outside(data) == []
    folders = {path.name for path in data.archive_raw.iterdir() if path.is_dir()}
    assert folders <= {f"pole_id={name}" for name in (*KEPT, "p1")}


def test_exports_by_pole_stay_in_their_folder(data: DataDir, tmp_path: Path) -> None:
    messages = [
        message(as_json(reading(number, pole_id=name)), JSON, identity=name)
        for number, name in enumerate(KEPT)
    ]
    BoundedGraph(Ingest(data.root, BOUNDS)).run([batch(*messages)])
    out = tmp_path / "out"
    exported = export(data, Order(table="readings", form="csv", out=out, by="pole"))
    assert (exported.rows, exported.files) == (len(KEPT), len(KEPT))
    assert {path.relative_to(out).parts[0] for path in out.rglob("*.csv")} == {
        f"pole_id={name}" for name in KEPT
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["around", "out"]
