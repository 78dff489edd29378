"""A GoogleSQL database in memory: reads JSON requests line by line, gives JSON answers.

Runs in its own environment (`googlesql.lock`). Every statement is analyzed by GoogleSQL's own
analyzer and executed by its reference evaluator; this module keeps tables and views in between.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from googlesql_reads import DAY_US, Read, innermost, limits_days, may_hold, reads
from wasmtime import Config, Engine, Linker, Module, Store, WasiConfig
from zetasql.core.exceptions import ServerError
from zetasql.core.wasm_client import WasmClient, get_tzinfo_dir
from zetasql.wasi import get_wasm_path
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2, simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import type_pb2, value_pb2
from zetasql.wasi._pb2.zetasql.resolved_ast import resolved_node_kind_pb2

PRODUCT_EXTERNAL = 1  # the type names that BigQuery knows: no `double`, no `int32`
FULL_NODE_RANGES = 2
# Kinds of action in a WHEN clause of MERGE.
MERGE_UPDATE = 2
MERGE_DELETE = 3
WITH_QUERY = ("ASTInsertStatementProto", "ASTCreateTableStatementProto")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TYPE_NAMES = {"DOUBLE": "FLOAT64"}
TYPE_KINDS = {"FLOAT64": "TYPE_DOUBLE", "FLOAT": "TYPE_DOUBLE", "INTEGER": "TYPE_INT64"}
# Other names that BigQuery documents for its types.
ALIASES = {
    **dict.fromkeys(("INT", "SMALLINT", "INTEGER", "BIGINT", "TINYINT", "BYTEINT"), "INT64"),
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
# `project`.`dataset`.`table`, as dbt writes every relation.
RELATION = re.compile(r"`[^`]+`\.`[^`]+`\.`?((?:INFORMATION_SCHEMA\.)?\w+)`?")
# What dbt writes for a table with day partitions.
PARTITIONED = re.compile(r"partition by (?:timestamp_trunc\()?`?(\w+)", re.IGNORECASE)
FILTER_REQUIRED = re.compile(r"require_partition_filter\s*=\s*true", re.IGNORECASE)
PARTITIONS = "INFORMATION_SCHEMA.PARTITIONS"
# What a row counts there; BigQuery's own count depends on its values.
ROW_BYTES = 160
PARTITION_COLUMNS = {
    "table_name": "STRING",
    "partition_id": "STRING",
    "total_rows": "INT64",
    "total_logical_bytes": "INT64",
    "last_modified_time": "TIMESTAMP",
}


NULL_AT_EXTREME = "min_by or max_by meets a NULL, which the warehouses treat differently"


class RefusedSql(Exception):
    """GoogleSQL refuses the statement, or this database cannot execute it."""


class Evaluator(WasmClient):
    """The wasm build of GoogleSQL, compiled once per environment and copied in blocks."""

    def __init__(self) -> None:
        config = Config()
        config.shared_memory = True
        engine = Engine(config)
        self.store = Store(engine)
        wasi = WasiConfig()
        wasi.inherit_stderr()
        wasi.preopen_dir(get_tzinfo_dir(), "/usr/share/zoneinfo")
        self.store.set_wasi(wasi)
        compiled = Path(sys.prefix) / "googlesql.cwasm"
        if not compiled.exists():
            fresh = compiled.with_suffix(".new")
            fresh.write_bytes(Module.from_file(engine, get_wasm_path()).serialize())
            fresh.replace(compiled)
        linker = Linker(engine)
        linker.define_wasi()
        module = Module.deserialize_file(engine, str(compiled))
        self.exports = linker.instantiate(self.store, module).exports(self.store)
        self.exports["_initialize"](self.store)
        self.memory = self.exports["memory"]

    def _address(self, pointer: int) -> int:
        return ctypes.addressof(self.memory.data_ptr().contents) + pointer

    def write_bytes(self, ptr: int, data: bytes) -> None:
        """Copy `data` into the wasm memory."""
        ctypes.memmove(self._address(ptr), data, len(data))

    def read_bytes(self, ptr: int, size: int) -> bytes:
        """Copy `size` bytes out of the wasm memory."""
        return ctypes.string_at(self._address(ptr), size)

    def call(self, method: str, request: Any, response: Any) -> Any:
        """Call a method of the local service; raises RefusedSql with GoogleSQL's message."""
        try:
            return self.call_grpc_func(f"ZetaSqlLocalService_{method}", request, response)
        except ServerError as error:
            raise RefusedSql(str(error)) from error


@dataclass
class Table:
    """A table's columns (name, type) and rows of values; a view keeps its query."""

    columns: list[tuple[str, Any]]
    rows: list[list[Any]]
    query: str | None = None
    # Which states of other tables the rows of a view come from.
    made_of: dict[str, int] = field(default_factory=dict)
    state: int = 0
    # Rows and time of the last change (µs since 1970) by day, where a source is partitioned.
    partitions: dict[str, tuple[list[Any], int]] = field(default_factory=dict)
    partitioned_by: str | None = None
    requires_filter: bool = False

    def days(self) -> list[int]:
        """Starts of the days that have a partition, in µs since 1970; none without partitions."""
        kinds = dict(self.columns)
        if self.partitioned_by is None or type_name(kinds[self.partitioned_by]) != "TIMESTAMP":
            return []
        place = list(kinds).index(self.partitioned_by)
        times = (row[place].timestamp_value.ToMicroseconds() for row in self.rows)
        return sorted({at - at % DAY_US for at in times})


@dataclass
class Function:
    """A table function: its parameters (name, type name) and the query over them."""

    parameters: list[tuple[str, str]]
    query: str

    def called(self, arguments: list[str]) -> str:
        """The query with an expression for each parameter."""
        if len(arguments) != len(self.parameters):
            raise RefusedSql(f"{len(self.parameters)} arguments wanted, {len(arguments)} given")
        values = {
            name: f"cast({argument} as {kind})"
            for (name, kind), argument in zip(self.parameters, arguments, strict=True)
        }
        names = re.compile(rf"\b({'|'.join(values)})\b(?!\s*\.)")
        return names.sub(lambda found: values[found[0]], self.query)


class Database:
    """Tables and views by name; statements change them as BigQuery's would."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self.tables: dict[str, Table] = {}
        self._states = itertools.count(1)
        self.functions: dict[str, Function] = {}
        # What each statement read since `watch`; nothing is noted before it.
        self.watched: list[dict[str, Any]] | None = None
        # What the models are told of the time, in µs since 1970; the machine's clock without it.
        self.now_us: int | None = None
        language = evaluator.call(
            "GetLanguageOptions",
            service.LanguageOptionsRequest(maximum_features=True),
            options_pb2.LanguageOptionsProto,
        )
        language.product_mode = PRODUCT_EXTERNAL
        del language.supported_statement_kinds[:]
        kinds = resolved_node_kind_pb2.ResolvedNodeKind
        language.supported_statement_kinds.extend(
            kind for kind in kinds.values() if kinds.Name(kind).endswith("Stmt")
        )
        self._options = evaluator.call(
            "GetAnalyzerOptions",
            service.AnalyzerOptionsRequest(),
            options_pb2.AnalyzerOptionsProto,
        )
        self._options.language_options.CopyFrom(language)
        self._options.default_timezone = "UTC"
        self._options.parse_location_record_type = FULL_NODE_RANGES
        self._pools = service.DescriptorPoolListProto()
        self._pools.definitions.add().builtin.SetInParent()

    def load(
        self,
        name: str,
        columns: list[list[str]],
        rows: list[list[Any]],
        partition_by: str | None = None,
    ) -> None:
        """Make or replace the table `name`.

        Columns are (name, type), cells as `encoded` takes them. With `partition_by`, a TIMESTAMP
        column, queries need a condition on it, and INFORMATION_SCHEMA.PARTITIONS says when rows of
        a day last changed.
        """
        types = [(column, type_of(text)) for column, text in columns]
        made = Table(
            types,
            [
                [encoded(cell, kind) for cell, (_, kind) in zip(row, types, strict=True)]
                for row in rows
            ],
        )
        if partition_by is not None:
            made.partitioned_by, made.requires_filter = partition_by, True
            before = self.tables[name].partitions if name in self.tables else {}
            place = [column for column, _ in columns].index(partition_by)
            days: dict[str, list[Any]] = {}
            for row in rows:
                day = EPOCH + timedelta(microseconds=row[place])
                days.setdefault(f"{day:%Y%m%d}", []).append(row)
            now = time.time_ns() // 1000
            for day, held in days.items():
                is_same = day in before and before[day][0] == held
                made.partitions[day] = (held, before[day][1] if is_same else now)
        self._set(name, made)

    def _list_partitions(self) -> None:
        kinds = [type_of(kind) for kind in PARTITION_COLUMNS.values()]
        rows = [
            [
                encoded(cell, kind)
                for cell, kind in zip(
                    (name, day, len(held), len(held) * ROW_BYTES, changed), kinds, strict=True
                )
            ]
            for name, table in self.tables.items()
            for day, (held, changed) in table.partitions.items()
        ]
        self._set(PARTITIONS, Table(list(zip(PARTITION_COLUMNS, kinds, strict=True)), rows))

    def drop(self, name: str) -> None:
        """Forget the table or view `name`, if it is there."""
        self.tables.pop(name, None)

    def script(self, sql: str) -> dict[str, Any]:
        """Execute all statements of `sql`; the answer is the last one's columns and rows."""
        if self.now_us is not None:
            sql = sql.replace("current_timestamp()", f"timestamp_micros({self.now_us})")
        text = self._spelled_out(self._inlined(RELATION.sub(r"`\1`", sql))).encode()
        at = 0
        answer: dict[str, Any] = {"columns": [], "rows": []}
        while text[at:].strip():
            parsed = self._parsed(text, at)
            answer = self._statement(
                parsed.parsed_statement, text, text[at : parsed.resume_byte_position].decode()
            )
            at = parsed.resume_byte_position
        return answer

    def content(self, name: str) -> dict[str, Any]:
        """Columns and rows of the table or view `name`."""
        return shown(self._fresh(name))

    def columns(self, sql: str) -> list[list[str]]:
        """Names and types of what the query `sql` gives."""
        query = self._spelled_out(RELATION.sub(r"`\1`", sql))
        return [[name, type_name(kind)] for name, kind in self._run(query).columns]

    def _parsed(self, text: bytes, at: int) -> Any:
        return self._evaluator.call(
            "Parse",
            service.ParseRequest(
                parse_resume_location={
                    "input": text.decode(),
                    "byte_position": at,
                    "allow_resume": True,
                },
                options=self._options.language_options,
            ),
            service.ParseResponse,
        )

    def _inlined(self, sql: str) -> str:
        """`sql` with the queries of table functions in place of their calls."""
        if not self.functions:
            return sql
        call = re.compile(rf"`({'|'.join(self.functions)})`\(")
        defines = re.match(r"(?s).*?create or replace table function `\w+`", sql, re.IGNORECASE)
        at = defines.end() if defines else 0
        while found := call.search(sql, at):
            arguments, end = arguments_of(sql, found.end())
            query = self.functions[found[1]].called(arguments)
            sql = f"{sql[: found.start()]}({query}){sql[end:]}"
            at = found.start()
        return sql

    def _spelled_out(self, sql: str) -> str:
        """`sql` with MIN_BY and MAX_BY as what BigQuery documents them to mean.

        Whether they pass over a NULL among the values is documented now one way, now the other, and
        DuckDB does: so such a value is an error.
        """
        if not re.search(r"\b(min|max)_by\s*\(", sql, re.IGNORECASE):
            return sql
        text = sql.encode()
        at = 0
        calls = []
        while text[at:].strip():
            parsed = self._parsed(text, at)
            calls += [call for call in nodes(parsed, "ASTFunctionCallProto") if is_extreme(call)]
            at = parsed.resume_byte_position
        for call in sorted(calls, key=lambda call: -_range(call).start):
            place = _range(call)
            value, order = (ranged(text, innermost(argument)) for argument in call.arguments)
            extreme = call.function.names[0].id_string[:3]
            known = f"if({order} is null, null, ifnull({value}, error('{NULL_AT_EXTREME}')))"
            meant = f"any_value({known} having {extreme} {order})".encode()
            text = text[: place.start] + meant + text[place.end :]
        return text.decode()

    def _statement(self, parsed: Any, text: bytes, sql: str) -> dict[str, Any]:
        node = innermost(parsed)
        kind = type(node).__name__
        if PARTITIONS in sql:
            self._list_partitions()
        self._judge_reads(node, text, sql)
        if kind == "ASTQueryStatementProto":
            return shown(self._run(sql))
        if kind == "ASTDropStatementProto":
            self.drop(node.name.names[-1].id_string)
            return {"columns": [], "rows": []}
        if kind == "ASTCreateTableStatementProto" and not node.HasField("query"):
            columns = nodes(self._analyze(sql), "ResolvedColumnDefinitionProto")
            name = node.parent.name.names[-1].id_string
            if name not in self.tables:
                self._set(name, Table([(column.name, column.type) for column in columns], []))
        elif kind == "ASTCreateTableStatementProto":
            self._create(node.parent.name, node.query, text, sql, is_view=False)
        elif kind == "ASTCreateViewStatementProto":
            self._create(node.parent.name, node.parent.query, text, sql, is_view=True)
        elif kind == "ASTCreateTableFunctionStatementProto":
            self._create_function(node, text, sql)
        elif kind == "ASTMergeStatementProto":
            self._analyze(sql)
            self._merge(node, text)
        elif kind == "ASTDeleteStatementProto":
            self._analyze(sql)
            self._delete(table_name(node), table_name(node), ranged(text, innermost(node.where)))
        elif kind == "ASTInsertStatementProto":
            self._analyze(sql)
            self._insert(node, text)
        elif kind == "ASTAlterTableStatementProto":
            # dbt sets only options (descriptions, labels), which no row depends on.
            self._analyze(sql)
        else:
            raise RefusedSql(f"this judge cannot execute {kind}")
        return {"columns": [], "rows": []}

    def _create(self, name: Any, query: Any, text: bytes, sql: str, *, is_view: bool) -> None:
        """Execute the query, then analyze the statement around it (partitions, options, names)."""
        source = ranged(text, query)
        made = self._run(source)
        if is_view:
            made.query = source
            made.made_of = self._states_of(source)
        shape = ", ".join(
            f"cast(null as {type_name(kind)}) as `{column}`" for column, kind in made.columns
        )
        self._analyze(sql.replace(source, f"select {shape}"))
        partitioned = None if is_view else PARTITIONED.search(sql.replace(source, ""))
        if partitioned:
            made.partitioned_by = partitioned[1]
            made.requires_filter = bool(FILTER_REQUIRED.search(sql.replace(source, "")))
        self._set(name.names[-1].id_string, made)

    def _create_function(self, node: Any, text: bytes, sql: str) -> None:
        """Analyze the function, judge what a call reads, and keep its query for calls."""
        self._analyze(sql)
        declaration = node.parent.function_declaration
        made = Function(
            [
                (parameter.name.id_string, ranged(text, innermost(parameter.type)))
                for parameter in declaration.parameters.parameter_entries
            ],
            ranged(text, node.query),
        )
        now = "timestamp '2026-01-01'"
        given = {"timestamp": now, "array<string>": "['a']"}
        call = made.called([given[kind.lower()] for _, kind in made.parameters])
        asked = f"select * from ({call})"
        self._judge_reads(
            innermost(self._parsed(asked.encode(), 0).parsed_statement), asked.encode(), asked
        )
        self.functions[declaration.name.names[-1].id_string] = made

    def _merge(self, merge: Any, text: bytes) -> None:
        """Execute a MERGE as dbt writes it.

        insert_overwrite: on false, delete what a condition names and insert all; merge: replace
        the rows with the same key and insert the rest.
        """
        name = table_name(merge)
        clauses = merge.when_clauses.clause_list
        deletes = [c for c in clauses if c.action.action_type == MERGE_DELETE]
        updates = [c for c in clauses if c.action.action_type == MERGE_UPDATE]
        if len(clauses) != 2 or len(deletes) + len(updates) != 1:
            raise RefusedSql("this judge executes only the MERGE of dbt's strategies")
        columns = self.tables[name].columns
        names = ", ".join(f"`{column}`" for column, _ in columns)
        relation = innermost(merge.table_expression)
        source = ranged(text, relation.subquery)
        fresh = self._run(f"select {names} from ({source})")
        if deletes:
            gone = ranged(text, innermost(deletes[0].search_condition))
        else:
            alias = relation.alias.identifier.id_string
            same = ranged(text, innermost(merge.merge_condition))
            gone = f"exists (select 1 from ({source}) as {alias} where {same})"
        self._delete(name, merge.alias.identifier.id_string, gone)
        self._set(name, replace(self.tables[name], rows=self.tables[name].rows + fresh.rows))

    def _delete(self, name: str, alias: str, condition: str) -> None:
        columns = self.tables[name].columns
        names = ", ".join(f"`{column}`" for column, _ in columns)
        kept = self._run(
            f"select {names} from `{name}` as {alias} where not coalesce({condition}, false)"
        )
        self._set(name, replace(self.tables[name], rows=kept.rows))

    def _insert(self, insert: Any, text: bytes) -> None:
        name = table_name(insert)
        columns = self.tables[name].columns
        if insert.HasField("query"):
            query = ranged(text, insert.query)
        else:
            lists = [
                ", ".join(ranged(text, innermost(value)) for value in row.values)
                for row in insert.rows.rows
            ]
            query = " union all ".join(f"select {values}" for values in lists)
        fresh = self._run(query)
        given = [type_name(kind) for _, kind in fresh.columns]
        if insert.HasField("column_list") or given != [type_name(kind) for _, kind in columns]:
            raise RefusedSql(f"this judge inserts whole rows of the table's own types, not {given}")
        self._set(name, replace(self.tables[name], rows=self.tables[name].rows + fresh.rows))

    def _judge_reads(self, node: Any, text: bytes, sql: str) -> None:
        """Note what a statement reads; refuse it where a condition on the partitions is missing."""
        kind = type(node).__name__
        changed = kind in ("ASTMergeStatementProto", "ASTDeleteStatementProto")
        if kind == "ASTQueryStatementProto" or changed:
            asked = sql
        elif kind in WITH_QUERY and node.HasField("query"):
            asked = ranged(text, node.query)
        else:
            return
        used = self._tables_behind(asked)
        if self.watched is None and not any(self.tables[name].requires_filter for name in used):
            return
        target = "" if kind == "ASTQueryStatementProto" else target_name(node)
        for read in self._reads(asked):
            table = self.tables[read.table]
            column = table.partitioned_by
            if table.requires_filter and not limits_days(read, column):
                raise RefusedSql(
                    f"Cannot query over table {read.table} without a filter over column(s) "
                    f"'{column}' that can be used for partition elimination"
                )
            if self.watched is not None:
                days = table.days()
                self.watched.append(
                    {
                        "target": target,
                        "table": read.table,
                        "columns": {
                            name: type_name(made)
                            for name, made in table.columns
                            if name in read.columns
                        },
                        "changes": changed and read.table == target,
                        "days": [day for day in days if may_hold(read, str(column), day)],
                        "is_partitioned": table.partitioned_by is not None,
                    }
                )

    def _tables_behind(self, sql: str) -> set[str]:
        used = {name for name in self.tables if f"`{name}`" in sql}
        views = [query for name in used if (query := self.tables[name].query) is not None]
        return used.union(*(self._tables_behind(query) for query in views))

    def _reads(self, sql: str, of_view: Read | None = None) -> Iterator[Read]:
        for read in reads(self._analyze(sql).resolved_statement, of_view):
            query = self.tables[read.table].query
            if query is None:
                yield read
            else:
                yield from self._reads(query, read)

    def _set(self, name: str, table: Table) -> None:
        table.state = next(self._states)
        self.tables[name] = table

    def _states_of(self, sql: str) -> dict[str, int]:
        return {name: table.state for name, table in self._used(sql).items()}

    def _fresh(self, name: str) -> Table:
        """The table `name`; a view is executed again if what it reads has changed."""
        table = self.tables[name]
        if table.query is not None:
            states = self._states_of(table.query)
            if states != table.made_of:
                table.rows = self._run(table.query).rows
                table.made_of = states
                table.state = next(self._states)
        return table

    def _used(self, sql: str) -> dict[str, Table]:
        return {name: self._fresh(name) for name in self.tables if f"`{name}`" in sql}

    def _catalog(self, tables: dict[str, Table]) -> Any:
        catalog = simple_catalog_pb2.SimpleCatalogProto(name="warehouse")
        catalog.builtin_function_options.language_options.CopyFrom(self._options.language_options)
        for alias, meant in ALIASES.items():
            catalog.named_type.add(name=alias, type=type_of(meant))
        for name, table in tables.items():
            made = catalog.table.add(name=name)
            for column, kind in table.columns:
                made.column.add(name=column, type=kind)
        return catalog

    def _analyze(self, sql: str) -> Any:
        return self._evaluator.call(
            "Analyze",
            service.AnalyzeRequest(
                options=self._options,
                simple_catalog=self._catalog(self._used(sql)),
                descriptor_pool_list=self._pools,
                sql_statement=sql,
            ),
            service.AnalyzeResponse,
        )

    def _run(self, query: str) -> Table:
        used = self._used(query)
        request = service.PrepareQueryRequest(
            sql=query,
            options=self._options,
            simple_catalog=self._catalog(used),
            descriptor_pool_list=self._pools,
        )
        for name, table in used.items():
            data = request.table_content[name].table_data
            data.SetInParent()
            for row in table.rows:
                data.row.add().cell.extend(row)
        prepared = self._evaluator.call(
            "PrepareQuery", request, service.PrepareQueryResponse
        ).prepared
        try:
            result = self._evaluator.call(
                "EvaluateQuery",
                service.EvaluateQueryRequest(prepared_query_id=prepared.prepared_query_id),
                service.EvaluateQueryResponse,
            )
        finally:
            self._evaluator.call(
                "UnprepareQuery",
                service.UnprepareQueryRequest(prepared_query_id=prepared.prepared_query_id),
                service.PrepareQueryResponse,
            )
        return Table(
            [(column.name, column.type) for column in prepared.columns],
            [list(row.cell) for row in result.content.table_data.row],
        )


def shown(table: Table) -> dict[str, Any]:
    """Columns and rows as JSON."""
    return {
        "columns": [[name, type_name(kind)] for name, kind in table.columns],
        "rows": [
            [decoded(cell, kind) for cell, (_, kind) in zip(row, table.columns, strict=True)]
            for row in table.rows
        ],
    }


def arguments_of(sql: str, at: int) -> tuple[list[str], int]:
    """Arguments of the call whose opening parenthesis ends at `at`, and where the call ends."""
    depth, begins, found = 0, at, []
    for place in range(at, len(sql)):
        character = sql[place]
        if character in "([":
            depth += 1
        elif character == "," and depth == 0:
            found.append(sql[begins:place].strip())
            begins = place + 1
        elif character in ")]":
            if depth == 0:
                return [*found, sql[begins:place].strip()], place + 1
            depth -= 1
    raise RefusedSql("a call does not end")


def nodes(message: Any, name: str) -> Iterator[Any]:
    """All messages of the type `name` inside `message`."""
    if type(message).__name__ == name:
        yield message
    for described, value in message.ListFields():
        if described.message_type:
            for one in [value] if hasattr(value, "ListFields") else value:
                yield from nodes(one, name)


def is_extreme(call: Any) -> bool:
    """Whether a function call is MIN_BY or MAX_BY."""
    return call.function.names[-1].id_string.lower() in ("min_by", "max_by")


def table_name(statement: Any) -> str:
    """Name of the table that a DML statement changes."""
    name: str = innermost(statement.target_path).names[-1].id_string
    return name


def target_name(statement: Any) -> str:
    """Name of the table that a statement makes or changes."""
    if type(statement).__name__ == "ASTCreateTableStatementProto":
        return str(statement.parent.name.names[-1].id_string)
    return table_name(statement)


def _range(node: Any) -> Any:
    while not any(field.name == "parse_location_range" for field in node.DESCRIPTOR.fields):
        node = node.parent
    return node.parse_location_range


def ranged(text: bytes, node: Any) -> str:
    """The part of `text` that `node` was parsed from."""
    place = _range(node)
    return text[place.start : place.end].decode()


def type_of(text: str) -> Any:
    """Protobuf type of a BigQuery type name such as INT64 or ARRAY<STRING>."""
    made = type_pb2.TypeProto()
    inner = re.fullmatch(r"ARRAY<(.+)>", text)
    if inner:
        made.type_kind = type_pb2.TYPE_ARRAY
        made.array_type.element_type.CopyFrom(type_of(inner[1]))
    else:
        made.type_kind = type_pb2.TypeKind.Value(TYPE_KINDS.get(text, f"TYPE_{text}"))
    return made


def type_name(kind: Any) -> str:
    """BigQuery's name of a protobuf type."""
    if kind.type_kind == type_pb2.TYPE_ARRAY:
        return f"ARRAY<{type_name(kind.array_type.element_type)}>"
    name = type_pb2.TypeKind.Name(kind.type_kind).removeprefix("TYPE_")
    return TYPE_NAMES.get(name, name)


def encoded(cell: Any, kind: Any) -> Any:
    """A value from JSON: timestamps in microseconds since 1970, dates as YYYY-MM-DD."""
    value = value_pb2.ValueProto()
    name = type_name(kind)
    if cell is None:
        return value
    if name.startswith("ARRAY"):
        value.array_value.SetInParent()
        value.array_value.element.extend(
            encoded(item, kind.array_type.element_type) for item in cell
        )
    elif name == "INT64":
        value.int64_value = int(cell)
    elif name == "FLOAT64":
        value.double_value = float(cell)
    elif name == "BOOL":
        value.bool_value = cell
    elif name == "STRING":
        value.string_value = cell
    elif name == "DATE":
        value.date_value = (date.fromisoformat(cell) - EPOCH.date()).days
    elif name == "TIMESTAMP":
        value.timestamp_value.FromDatetime(EPOCH + timedelta(microseconds=cell))
    else:
        raise RefusedSql(f"this judge cannot load {name}")
    return value


def decoded(value: Any, kind: Any) -> Any:
    """The reverse of `encoded`; numerics come as text, local times as ISO 8601."""
    name = type_name(kind)
    field = value.WhichOneof("value")
    if field is None:
        return None
    if name.startswith("ARRAY"):
        return [decoded(item, kind.array_type.element_type) for item in value.array_value.element]
    if name in ("INT64", "FLOAT64", "BOOL", "STRING"):
        return getattr(value, field)
    if name == "DATE":
        return str(EPOCH.date() + timedelta(days=value.date_value))
    if name == "TIMESTAMP":
        return value.timestamp_value.ToMicroseconds()
    if name in ("NUMERIC", "BIGNUMERIC"):
        scale = 9 if name == "NUMERIC" else 38
        whole = int.from_bytes(getattr(value, field), "little", signed=True)
        return str(Decimal(whole).scaleb(-scale))
    if name == "DATETIME":
        return local_time(value.datetime_value.bit_field_datetime_seconds).isoformat()
    raise RefusedSql(f"this judge cannot show {name}")


def local_time(packed: int) -> datetime:
    """Civil time of GoogleSQL's packed seconds (year, month, day, hour, minute, second)."""
    return datetime(  # noqa: DTZ001 - a DATETIME has no time zone
        packed >> 26,
        packed >> 22 & 15,
        packed >> 17 & 31,
        packed >> 12 & 31,
        packed >> 6 & 63,
        packed & 63,
    )


def main() -> None:
    """Answer each line of standard input with one line."""
    database = Database(Evaluator())
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = perform(database, **request)
        except RefusedSql as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def perform(database: Database, operation: str, **arguments: Any) -> dict[str, Any]:
    """One request; `operation` names what to do."""
    if operation == "script":
        return database.script(arguments["sql"])
    if operation == "columns":
        return {"columns": database.columns(arguments["sql"])}
    if operation == "load":
        database.load(**arguments)
    elif operation == "drop":
        database.drop(arguments["name"])
    elif operation == "content":
        return database.content(arguments["name"])
    elif operation == "watch":
        database.watched, database.now_us = [], arguments["now_us"]
    elif operation == "watched":
        return {"reads": database.watched}
    elif operation == "tables":
        return {
            "tables": {
                name: {
                    "columns": [[column, type_name(kind)] for column, kind in table.columns],
                    "is_view": table.query is not None,
                }
                for name, table in database.tables.items()
            }
        }
    else:
        raise RefusedSql(f"unknown operation {operation}")
    return {}


if __name__ == "__main__":
    main()
