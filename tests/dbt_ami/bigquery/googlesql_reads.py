"""What a statement reads: takes GoogleSQL's resolved statement, gives columns and conditions.

Follows the resolved tree as BigQuery's planner does: only columns that the result depends on are
read, and a condition limits the partitions of a table only where it reaches the table's scan
through projections, joins, unions and common table expressions. Windows and aggregates stop it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

DAY_US = 86_400_000_000
INNER, LEFT, RIGHT = 0, 1, 2  # join types; 3 is FULL
UNION_ALL = 0  # a type of set operation
COMPARED: dict[str, Callable[[int, int, int], bool]] = {
    # Whether some time from `first` to `last` compares so with `limit` (µs since 1970).
    "$greater_or_equal": lambda first, last, limit: last >= limit,
    "$greater": lambda first, last, limit: last > limit,
    "$less_or_equal": lambda first, last, limit: first <= limit,
    "$less": lambda first, last, limit: first < limit,
    "$equal": lambda first, last, limit: first <= limit <= last,
}
MIRRORED = {
    "$greater_or_equal": "$less_or_equal",
    "$greater": "$less",
    "$less_or_equal": "$greater_or_equal",
    "$less": "$greater",
    "$equal": "$equal",
}


class UnknownScan(Exception):
    """The tree holds something whose reads this module cannot tell."""


@dataclass(frozen=True)
class Condition:
    """A boolean expression and the names that its column ids have in the table."""

    expression: Any
    names: dict[int, str]


@dataclass
class Read:
    """One scan of a table or view: its columns that are needed, and what limits its rows."""

    table: str
    columns: set[str]
    conditions: list[Condition]


def innermost(node: Any) -> Any:
    """The node inside protobuf's `Any…` and `oneof` wrappers."""
    while type(node).__name__.startswith("Any"):
        ((_, node),) = node.ListFields()
    return node


def inside(message: Any) -> Iterator[Any]:
    """The messages directly inside `message`, wrappers taken off."""
    for described, value in message.ListFields():
        if described.message_type:
            for one in [value] if hasattr(value, "ListFields") else value:
                yield innermost(one)


def kind_of(node: Any) -> str:
    """Name of a node's type without the frame that protobuf gives it."""
    return type(node).__name__.removeprefix("Resolved").removesuffix("Proto")


def found(node: Any, kind: str) -> Iterator[Any]:
    """All nodes of a kind inside `node`, itself included."""
    if kind_of(node) == kind:
        yield node
    for one in inside(node):
        yield from found(one, kind)


def member(node: Any, name: str) -> Any:
    """A field of a node or of the base message that it extends, unwrapped."""
    while name not in node.DESCRIPTOR.fields_by_name:
        node = node.parent
    value = getattr(node, name)
    return innermost(value) if hasattr(value, "ListFields") else [innermost(one) for one in value]


def ids(columns: Any) -> list[int]:
    """Ids of resolved columns."""
    return [column.column_id for column in columns]


@dataclass
class _Columns:
    """Which columns each column of a statement is made of, and which are needed in any case."""

    made_of: dict[int, set[int]] = field(default_factory=dict)
    needed: set[int] = field(default_factory=set)
    entries: dict[str, Any] = field(default_factory=dict)

    def add(self, node: Any, into: set[int]) -> None:
        kind = kind_of(node)
        if kind == "ColumnRef":
            into.add(node.column.column_id)
        elif kind == "ComputedColumn":
            self.add(innermost(node.expr), self.made_of.setdefault(node.column.column_id, set()))
            return
        elif kind == "OutputColumn":
            into.add(node.column.column_id)
        elif kind == "SubqueryExpr":
            into.update(ids(member(innermost(node.subquery), "column_list")))
        elif kind == "WithScan":
            for entry in node.with_entry_list:
                self.entries[entry.with_query_name] = innermost(entry.with_subquery)
        elif kind == "WithRefScan":
            given = member(self.entries[node.with_query_name], "column_list")
            self._same(member(node, "column_list"), given)
        elif kind == "SetOperationScan":
            for item in node.input_item_list:
                self._same(member(node, "column_list"), item.output_column_list)
            if node.op_type != UNION_ALL:
                into.update(ids(member(node, "column_list")))
        elif kind == "AggregateScan":
            for computed in member(node, "group_by_list"):
                self.add(innermost(computed.expr), into)
        for one in inside(node):
            self.add(one, into)

    def _same(self, columns: Any, sources: Any) -> None:
        for column, source in zip(ids(columns), ids(sources), strict=True):
            self.made_of.setdefault(column, set()).add(source)

    def all_needed(self) -> set[int]:
        waiting, needed = set(self.needed), set()
        while waiting:
            column = waiting.pop()
            if column not in needed:
                needed.add(column)
                waiting |= self.made_of.get(column, set())
        return needed


@dataclass(frozen=True)
class _Limit:
    """A condition on its way down: `now` gives what a column id of it is called here."""

    expression: Any
    now: dict[int, int]

    def renamed(self, columns: Any, sources: Any) -> _Limit:
        names = dict(zip(ids(columns), ids(sources), strict=True))
        return _Limit(
            self.expression, {old: names[at] for old, at in self.now.items() if at in names}
        )


def conjuncts(expression: Any) -> Iterator[_Limit]:
    """The conditions that `expression` joins by AND."""
    if called(expression) == "$and":
        for argument in member(expression, "argument_list"):
            yield from conjuncts(argument)
    else:
        refs = [ref.column.column_id for ref in found(expression, "ColumnRef")]
        yield _Limit(expression, {ref: ref for ref in refs})


def called(expression: Any) -> str:
    """Name of the function that an expression calls; empty where it is no call."""
    if kind_of(expression) not in ("FunctionCall", "FunctionCallBase"):
        return ""
    return str(member(expression, "function").name.removeprefix("ZetaSQL:"))


def reads(statement: Any, of_view: Read | None = None) -> list[Read]:
    """What a resolved statement (AnyResolvedStatementProto) reads, one entry per scan.

    `of_view`: the statement is a view's query, and only this of the view is asked for. The table
    that a MERGE or DELETE changes counts with all its columns, as BigQuery bills it.

    Raises:
        UnknownScan: the statement holds a scan that is not known here.
    """
    node = innermost(statement)
    columns = _Columns()
    limits: list[_Limit] = []
    if of_view is None:
        columns.add(node, columns.needed)
    else:
        outputs = {one.name: one.column.column_id for one in member(node, "output_column_list")}
        columns.add(member(node, "query"), columns.needed)
        columns.needed |= {outputs[name] for name in of_view.columns}
        limits = [
            _Limit(one.expression, {old: outputs[name] for old, name in one.names.items()})
            for one in of_view.conditions
        ]
    needed = columns.all_needed()
    made: list[Read] = []

    def scans_inside(node: Any) -> None:
        for subquery in _outer_subqueries(node):
            descend(innermost(subquery.subquery), [])

    def descend(scan: Any, limits: list[_Limit]) -> None:
        kind = kind_of(scan)
        below: list[tuple[Any, list[_Limit]]] = []
        if kind == "TableScan":
            made.append(_read_of(scan, limits, needed))
        elif kind == "FilterScan":
            condition = member(scan, "filter_expr")
            below = [(member(scan, "input_scan"), [*limits, *conjuncts(condition)])]
        elif kind in ("ProjectScan", "OrderByScan", "ArrayScan"):
            below = [(member(scan, "input_scan"), limits)] if scan.HasField("input_scan") else []
        elif kind == "JoinScan":
            on = list(conjuncts(member(scan, "join_expr"))) if scan.HasField("join_expr") else []
            left = {INNER: [*limits, *on], LEFT: limits, RIGHT: on}.get(scan.join_type, [])
            right = {INNER: [*limits, *on], LEFT: on, RIGHT: limits}.get(scan.join_type, [])
            below = [(member(scan, "left_scan"), left), (member(scan, "right_scan"), right)]
        elif kind == "WithScan":
            below = [(member(scan, "query"), limits)]
        elif kind == "WithRefScan":
            entry = columns.entries[scan.with_query_name]
            pair = member(scan, "column_list"), member(entry, "column_list")
            below = [(entry, [limit.renamed(*pair) for limit in limits])]
        elif kind == "SetOperationScan":
            for item in scan.input_item_list:
                pair = member(scan, "column_list"), item.output_column_list
                below.append((innermost(item.scan), [limit.renamed(*pair) for limit in limits]))
        elif kind in ("AggregateScan", "AnalyticScan", "LimitOffsetScan"):
            below = [(member(scan, "input_scan"), [])]
        elif kind != "SingleRowScan":
            raise UnknownScan(f"the reads of {kind} are not known")
        # A common table expression is read where it is named.
        if kind not in ("WithScan", "WithRefScan", "TableScan"):
            scans_inside(scan)
        for inner, reaching in below:
            descend(inner, reaching)

    if kind_of(node) == "MergeStmt":
        deletes = [
            limit
            for c in node.when_clause_list
            if c.HasField("match_expr")
            for limit in conjuncts(innermost(c.match_expr))
        ]
        made.append(_changed(member(node, "table_scan"), deletes))
        descend(member(node, "from_scan"), [])
    elif kind_of(node) == "DeleteStmt":
        where = member(node, "where_expr")
        made.append(_changed(member(node, "table_scan"), list(conjuncts(where))))
        scans_inside(node)
    else:
        for scan in (one for one in inside(node) if kind_of(one).endswith("Scan")):
            descend(scan, limits)
    return made


def _outer_subqueries(node: Any) -> Iterator[Any]:
    """Subqueries in the expressions of a scan; those of the scans below it are theirs."""
    for one in inside(node):
        if kind_of(one) == "SubqueryExpr":
            yield one
        elif not kind_of(one).endswith("Scan") and kind_of(one) != "SetOperationItem":
            yield from _outer_subqueries(one)


def _names(scan: Any) -> dict[int, str]:
    return {column.column_id: column.name for column in member(scan, "column_list")}


def _read_of(scan: Any, limits: list[_Limit], needed: set[int]) -> Read:
    names = _names(scan)
    conditions = [
        Condition(limit.expression, {old: names[at] for old, at in limit.now.items()})
        for limit in limits
        if set(limit.now.values()) <= names.keys()
        and len(limit.now)
        == len({r.column.column_id for r in found(limit.expression, "ColumnRef")})
    ]
    columns = {name for column, name in names.items() if column in needed}
    return Read(scan.table.name, columns, conditions)


def _changed(scan: Any, limits: list[_Limit]) -> Read:
    names = _names(scan)
    return _read_of(scan, limits, set(names))


def limits_days(read: Read, column: str) -> bool:
    """Whether one of the conditions compares the partition's `column` with constants."""
    return any(
        set(condition.names.values()) == {column}
        and not any(found(condition.expression, "SubqueryExpr"))
        for condition in read.conditions
    )


def may_hold(read: Read, column: str, day_us: int) -> bool:
    """Whether rows of the day that begins at `day_us` (by `column`) can meet all conditions."""
    return all(_possible(one.expression, one.names, column, day_us) for one in read.conditions)


def _possible(expression: Any, names: dict[int, str], column: str, day_us: int) -> bool:
    call = called(expression)
    if kind_of(expression) == "Literal":
        return bool(expression.value.value.bool_value)
    if not call:
        return True
    arguments = member(expression, "argument_list")
    if call == "$and":
        return all(_possible(one, names, column, day_us) for one in arguments)
    if call == "$or":
        return any(_possible(one, names, column, day_us) for one in arguments)
    span = _span(arguments[0], names, column, day_us)
    if call == "$in" and span:
        limits = [constant_us(one) for one in arguments[1:]]
        return any(limit is None or span[0] <= limit <= span[1] for limit in limits)
    if call in COMPARED:
        limit = constant_us(arguments[1])
        if not span:
            call, span = MIRRORED[call], _span(arguments[1], names, column, day_us)
            limit = constant_us(arguments[0])
        if span and limit is not None:
            return COMPARED[call](*span, limit)
    return True


def _span(
    expression: Any, names: dict[int, str], column: str, day_us: int
) -> tuple[int, int] | None:
    """First and last value of the partition's column, or of its day, within the day."""
    if kind_of(expression) == "ColumnRef" and names.get(expression.column.column_id) == column:
        return day_us, day_us + DAY_US - 1
    if called(expression) == "timestamp_trunc":
        truncated, part, *_ = member(expression, "argument_list")
        if _span(truncated, names, column, day_us) and part.value.value.enum_value == DAY_PART:
            return day_us, day_us
    return None


DAY_PART = 3  # of GoogleSQL's DateTimestampPart


def constant_us(expression: Any) -> int | None:
    """µs since 1970 of a constant timestamp, as far as it is written with one."""
    if kind_of(expression) == "Literal":
        value = expression.value.value
        if value.WhichOneof("value") == "timestamp_value":
            return int(value.timestamp_value.ToMicroseconds())
        return int(value.int64_value) if value.WhichOneof("value") == "int64_value" else None
    arguments = member(expression, "argument_list") if called(expression) else []
    if called(expression) == "timestamp_micros":
        return constant_us(arguments[0])
    return None
