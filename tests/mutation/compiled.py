"""Judges faults in SQL: takes a warehouse that dbt built, builds what a fault reaches anew.

dbt compiles the models once. A mutant is a fault in the compiled text of one model; it and the
models below it are made anew in a transaction that is rolled back, which takes a fraction of the
time of a dbt run, and the check that the tests make of the unharmed warehouse is made again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb

from tests.dbt_ami.dbt_fork import parsed_project

from .faults import Mutant, Outcome
from .operators import Fault, apply

Check = Callable[[duckdb.DuckDBPyConnection], None]


class Stage(NamedTuple):
    """A built warehouse.

    Attributes:
        warehouse: its file.
        compiled: dbt's folder of compiled models.
        check: raises AssertionError where the marts are not what they should be.
    """

    warehouse: Path
    compiled: Path
    check: Check


class Model(NamedTuple):
    """A compiled model.

    Attributes:
        path: of its source below the repository.
        sql: what dbt made of it.
        head: the statement that the SQL completes.
        parents: names of the models that it reads.
    """

    path: str
    sql: str
    head: str
    parents: frozenset[str]


def models_of(stage: Stage) -> dict[str, Model]:
    """The models that the stage was built with, parents before children."""
    from dbt.contracts.graph.manifest import Manifest

    found = {}
    for node in Manifest.from_msgpack(parsed_project().read_bytes()).nodes.values():
        compiled = stage.compiled / node.original_file_path
        if node.resource_type == "model" and compiled.is_file():
            head = f"create or replace {_kind(node)}\n"
            parents = frozenset(i.split(".")[-1] for i in node.depends_on.nodes)
            path = f"dbt_ami/{node.original_file_path}"
            found[node.name] = Model(path, compiled.read_text().strip(), head, parents)
    return _ordered(found)


def _kind(node: object) -> str:
    config, name = node.config, node.name  # type: ignore[attr-defined]
    if config.materialized == "table_function":
        return f"macro {name}({', '.join(config.get('parameters'))}) as table"
    return f"{'view' if config.materialized == 'view' else 'table'} {name} as"


def _ordered(models: dict[str, Model]) -> dict[str, Model]:
    ordered: dict[str, Model] = {}
    while len(ordered) < len(models):
        for name, model in models.items():
            if name not in ordered and all(p in ordered or p not in models for p in model.parents):
                ordered[name] = model
    return ordered


def _below(models: dict[str, Model], name: str) -> list[str]:
    """The model and all that read it, directly or not, in the order in which they are built."""
    reached = {name}
    for other, model in models.items():
        if model.parents & reached:
            reached.add(other)
    return [other for other in models if other in reached]


def unharmed(stage: Stage, models: dict[str, Model], names: tuple[str, ...]) -> float:
    """Seconds that all models and what is below them take when nothing is wrong.

    Raises:
        RuntimeError: the check fails although nothing is wrong.
    """
    top = max(names, key=lambda name: len(_below(models, name)))
    whole = Mutant(models[top].path, models[top].sql, Fault(0, 0, ""))
    (outcome,) = outcomes(stage, models, [whole], 900)
    if outcome.status != "survived":
        raise RuntimeError(f"{outcome.mutant.path} fails unharmed: {outcome.output}")
    return outcome.seconds


def outcomes(
    stage: Stage, models: dict[str, Model], mutants: list[Mutant], limit_s: float
) -> Iterator[Outcome]:
    """What comes of each mutant, in order."""
    names = {model.path: name for name, model in models.items()}
    with duckdb.connect(str(stage.warehouse), config={"threads": 1}) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET memory_limit = '1GB'")
        for mutant in mutants:
            began_s = time.monotonic()
            status, said = _judged(con, stage.check, models, names[mutant.path], mutant, limit_s)
            yield Outcome(mutant, status, time.monotonic() - began_s, said)


def _judged(
    con: duckdb.DuckDBPyConnection,
    check: Check,
    models: dict[str, Model],
    name: str,
    mutant: Mutant,
    limit_s: float,
) -> tuple[str, str]:
    over = threading.Timer(limit_s, con.interrupt)
    over.start()
    con.execute("begin")
    try:
        for other in _below(models, name):
            sql = apply(mutant.text, mutant.fault) if other == name else models[other].sql
            con.execute(models[other].head + sql)
        check(con)
    except duckdb.InterruptException:
        return "timeout", ""
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
        return "invalid", str(error)
    except Exception as error:  # a check that cannot even be made has failed
        return "killed", str(error)
    else:
        return "survived", ""
    finally:
        over.cancel()
        con.execute("rollback")
