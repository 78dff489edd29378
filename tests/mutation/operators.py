"""Takes the text of a Python or dbt file, gives every small fault that may be put into it.

A fault replaces one span of the text, so that the rest of the file stays as it is written. Python
is searched by its syntax tree, SQL (with Jinja around it) by its tokens: the operators are those a
slip of the hand makes, such as `<` for `<=`, `lag` for `lead` or a forgotten term of a condition.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple


class Fault(NamedTuple):
    """What stands at `start` to `end` of a text is replaced."""

    start: int
    end: int
    replacement: str


def apply(text: str, fault: Fault) -> str:
    """The text with the fault in it."""
    return text[: fault.start] + fault.replacement + text[fault.end :]


def python_faults(text: str) -> list[Fault]:
    """Faults of a Python file, those of the SQL statements that it holds among them."""
    finder = _PythonFaults(text)
    finder.visit(ast.parse(text))
    return sorted(set(finder.found))


def sql_faults(text: str) -> list[Fault]:
    """Faults of SQL, with or without Jinja, of what DuckDB executes of it."""
    masked = _masked(text)
    found = set()
    for search in (_swaps, _equalities, _terms, _unwrapped, _keys, _numbers):
        found |= {fault for fault in search(masked, text) if apply(text, fault) != text}
    return sorted(found)


_COMPARISONS = {
    ast.Lt: (r"<", "<="),
    ast.LtE: (r"<=", "<"),
    ast.Gt: (r">", ">="),
    ast.GtE: (r">=", ">"),
    ast.Eq: (r"==", "!="),
    ast.NotEq: (r"!=", "=="),
    ast.Is: (r"is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
    ast.In: (r"in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
}
_ARITHMETIC = {
    ast.Add: (r"\+", "-"),
    ast.Sub: (r"-", "+"),
    ast.Mult: (r"\*", "+"),
    ast.Div: (r"/", "*"),
    ast.FloorDiv: (r"//", "*"),
    ast.Mod: (r"%", "//"),
    ast.Pow: (r"\*\*", "*"),
    ast.BitOr: (r"\|", "&"),
    ast.BitAnd: (r"&", "|"),
}
_ASSIGNED = {ast.Add: (r"\+=", "-="), ast.Sub: (r"-=", "+="), ast.Mult: (r"\*=", "+=")}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}
_METHODS = {"startswith": "endswith", "rfind": "find", "strip": "lstrip", "floor": "ceil"}


class _PythonFaults(ast.NodeVisitor):
    """Collects the faults of a module. What a person only reads (messages, docstrings, types) and
    what only names (strings in general) is left alone."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: list[Fault] = []
        self._starts = [0]
        self._lines = text.splitlines(keepends=True)
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def _span(self, node: ast.AST) -> tuple[int, int]:
        def offset(line: int, column: int) -> int:
            return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

        return (
            offset(node.lineno, node.col_offset),
            offset(node.end_lineno, node.end_col_offset),
        )

    def _replace(self, node: ast.AST, replacement: str) -> None:
        self.found.append(Fault(*self._span(node), replacement))

    def _replace_between(
        self, before: ast.AST, after: ast.AST, pattern: str, replacement: str
    ) -> None:
        first, last = self._span(before)[1], self._span(after)[0]
        place = re.compile(pattern).search(self.text, first, last)
        if place:
            self.found.append(Fault(*place.span(), replacement))

    def _negate(self, condition: ast.expr) -> None:
        if not isinstance(condition, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
            start, end = self._span(condition)
            self._replace(condition, f"not ({self.text[start:end]})")

    def visit_body(self, body: list[ast.stmt]) -> None:
        for number, node in enumerate(body):
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not is_text:
                self.visit(node)
                if number or len(body) > 1 or not isinstance(node, ast.Raise):
                    self._drop(node)

    def _drop(self, node: ast.stmt) -> None:
        is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        stores = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)
        if is_call or stores or isinstance(node, ast.AugAssign | ast.Raise | ast.Delete):
            self._replace(node, "pass")

    def generic_visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                self.visit_body(value)
            elif isinstance(value, list):
                for each in value:
                    if isinstance(each, ast.AST):
                        self.visit(each)
            elif isinstance(value, ast.AST):
                self.visit(value)

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            self._replace_between(left, right, *_COMPARISONS[type(operator)])
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _ARITHMETIC:
            self._replace_between(node.left, node.right, *_ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if type(node.op) in _ASSIGNED:
            self._replace_between(node.target, node.value, *_ASSIGNED[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._replace_between(left, right, word, other)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            start, end = self._span(node.operand)
            self._replace(node, self.text[start:end])
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        match node.value:
            case bool(value):
                self._replace(node, str(not value))
            case int(value) | float(value):
                self._replace(node, repr(value + 1))
            case bytes(value) if value:
                self._replace(node, repr(b"X" + value))

    def _visit_text(self, node: ast.Constant | ast.JoinedStr) -> None:
        start, end = self._span(node)
        segment = self.text[start:end]
        if re.search(r"\b(SELECT|WHEN|least|getvariable)\b", segment):
            for fault in sql_faults(segment):
                self.found.append(Fault(fault.start + start, fault.end + start, fault.replacement))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if is_text or isinstance(node.value, ast.JoinedStr):
            self._visit_text(node.value)
        elif node.value:
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    visit_While = visit_If  # noqa: N815

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self._negate(condition)
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value and not isinstance(node.value, ast.Constant):
            self._replace(node.value, "None")
        self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, "break")

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, "pass")

    def visit_keyword(self, node: ast.keyword) -> None:
        # `strict` of zip only says what holds anyway.
        if node.arg != "strict":
            self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in _CALLS:
            self._replace(node.func, _CALLS[node.func.id])
        if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
            end = self._span(node.func)[1]
            name = node.func.attr
            self.found.append(Fault(end - len(name), end, _METHODS[name]))
        self.generic_visit(node)


_SWAPS = [
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"(?<=\s)>=(?=\s)", ">"),
        (r"(?<=\s)<=(?=\s)", "<"),
        (r"(?<=\s)>(?=\s)", ">="),
        (r"(?<=\s)<(?=\s)", "<="),
        (r"(?<=\s)!=(?=\s)", "="),
        (r"(?<=[\w)}\]'] )\+(?=\s)", "-"),
        (r"(?<=[\w)}\]'] )-(?=\s)", "+"),
        (r"(?<=[\w)}\]'] )(?<!select )\*(?= \S)", "/"),
        (r"(?<=[\w)}\]'] )//?(?=\s)", "*"),
        # At the beginning of a line.
        (r"(?m)(?<=^)\s+\+(?=\s)", " -"),
        (r"(?m)(?<=^)\s+-(?=\s)", " +"),
        (r"(?m)(?<=^)\s+\*(?= [\w({])", " /"),
        (r"(?<=[\s(=])-(?=[a-z({])", ""),
        (r"\band\b", "or"),
        (r"\bor\b(?! replace)", "and"),
        (r"\bnot\s+(?!null\b|in\b|distinct\b|loop\b|materialized\b)", ""),
        (r"\bnot\s+in\b", "in"),
        (r"\bis\s+not\s+null\b", "is null"),
        (r"\bis\s+null\b", "is not null"),
        (r"\bis\s+distinct\s+from\b", "is not distinct from"),
        (r"\bmin\(", "max("),
        (r"\bmax\(", "min("),
        (r"\bmin_by\(", "max_by("),
        (r"\bmax_by\(", "min_by("),
        (r"\barg_max\(", "arg_min("),
        (r"\blag\(", "lead("),
        (r"\blead\(", "lag("),
        (r"\bleast\(", "greatest("),
        (r"\bgreatest\(", "least("),
        (r"\bsum\(", "max("),
        (r"\bavg\(", "max("),
        (r"\bbool_or\(", "bool_and("),
        (r"\babs\(", "("),
        (r"\bleft\s+join\b", "inner join"),
        (r"\banti\s+join\b", "semi join"),
        (r"\bunion distinct\b", "union all"),
        (r"\bunion\b(?! all| distinct)", "union all"),
        (r"(?<!union )(?<!from )(?<!is )\bdistinct\b(?! on| from)", ""),
        (r"\bdesc\b", "asc"),
        (r"\basc\b", "desc"),
        (r"\btrue\b", "false"),
        (r"\bfalse\b", "true"),
        (r"(?<![(~,] )(?<![(~,])'[a-z_]{3,}'(?! [~|])(?![)\]])", "'mutant'"),
        (r"\bunbounded preceding\b", "current row"),
        (r"\bunbounded following\b", "current row"),
    )
]


def _swaps(masked: str, _: str) -> Iterator[Fault]:
    """One word or sign for another."""
    for pattern, replacement in _SWAPS:
        for match in pattern.finditer(masked):
            start, end = match.span()
            line = masked[masked.rfind("\n", 0, start) + 1 : start]
            # The `and` of `between … and …` and of a window's frame is none of logic.
            if replacement == "or" and re.search(r"\bbetween\b(?!.*\band\b)", line, re.IGNORECASE):
                continue
            yield Fault(start, end, replacement)


def _equalities(masked: str, _: str) -> Iterator[Fault]:
    """`=` of a comparison; where two columns are equal, the term is dropped instead."""
    side = r"[\w.]+"
    joined = re.compile(rf"(?<![\w.]){side}(?: - 1| \+ 1)? = {side}(?=\s|$)", re.MULTILINE)
    dropped = set()
    for match in joined.finditer(masked):
        if (
            "." in match[0]
            and "{%" not in masked[masked.rfind("\n", 0, match.start()) : match.end()]
        ):
            dropped.add(masked.index(" = ", match.start()) + 1)
            yield Fault(*match.span(), "true")
    for match in re.finditer(r"(?<=\s)=(?=\s)", masked):
        line = masked[masked.rfind("\n", 0, match.start()) : match.start()]
        if match.start() not in dropped and "{%" not in line:
            yield Fault(*match.span(), "!=")


_ENDS = re.compile(
    r"\n\s*(and|or|where|group|order|window|qualify|having|union|then|limit)\b|\bthen\b"
    r"|\bas \w+|\bgroup by\b|\bwindow\b|\bunion\b",
    re.IGNORECASE,
)


def _term_end(masked: str, start: int) -> int:
    """Where the term of a condition ends that begins at `start`."""
    depth, at = 0, start
    while at < len(masked):
        if (
            depth == 0
            and at > start
            and (_ENDS.match(masked, at) or masked[at : at + 2] in ("{%",))
        ):
            break
        if depth == 0 and masked[at : at + 1] == '"':
            break
        depth += masked[at] in "({["
        depth -= masked[at] in ")}]"
        if depth < 0:
            break
        if depth == 0 and re.match(
            r"(?: (?:and|or) )|,?\n\s*(?:\)|\"|from |select |(?:left|inner|cross|anti) |\w+ as )",
            masked[at:],
        ):
            break
        at += 1
    return start + len(masked[start:at].rstrip().rstrip(","))


def _terms(masked: str, _: str) -> Iterator[Fault]:
    """A term of a condition forgotten."""
    for match in re.finditer(r"\b(where|qualify|having)\s+", masked, re.IGNORECASE):
        end = _term_end(masked, match.end())
        if re.search(r"\w", masked[match.end() : end]):
            yield Fault(match.end(), end, "true")
    for match in re.finditer(r"(?m)^\s+(and|or)\s+", masked, re.IGNORECASE):
        start = match.start(1)
        end = _term_end(masked, match.end())
        yield Fault(start, end, "")
    for match in re.finditer(r" filter \(", masked, re.IGNORECASE):
        closing = _closing(masked, match.end() - 1)
        if closing:
            yield Fault(match.start(), closing + 1, "")


def _closing(masked: str, opening: int) -> int | None:
    depth = 0
    for at in range(opening, len(masked)):
        depth += masked[at] in "({["
        depth -= masked[at] in ")}]"
        if depth == 0:
            return at
    return None


def _unwrapped(masked: str, text: str) -> Iterator[Fault]:
    """The first argument instead of `coalesce(a, b)` or `nullif(a, b)`."""
    for match in re.finditer(r"\b(coalesce|nullif)\(", masked, re.IGNORECASE):
        closing = _closing(masked, match.end() - 1)
        if closing is None:
            continue
        depth, comma = 0, None
        for at in range(match.end(), closing):
            depth += masked[at] in "({["
            depth -= masked[at] in ")}]"
            if depth == 0 and masked[at] == ",":
                comma = at
                break
        # What is null is not unequal either.
        if comma and not masked.startswith(" != ''", closing + 1):
            yield Fault(match.start(), closing + 1, text[match.end() : comma].strip())


def _keys(masked: str, _: str) -> Iterator[Fault]:
    """The last column of `partition by` or `order by` forgotten."""
    columns = r"[\w.]+(?: asc| desc)?"
    for match in re.finditer(
        rf"\b(partition|order) by {columns}((?:, {columns})*)(, {columns})(?=\s|\))",
        masked,
        re.IGNORECASE,
    ):
        yield Fault(*match.span(3), "")


def _numbers(masked: str, _: str) -> Iterator[Fault]:
    """A number that is one too large, or twice as large where one is next to nothing."""
    for match in re.finditer(r"(?<![\w.'])\d+(?:_\d+)*(?![\w.'])", masked):
        number = int(match[0])
        yield Fault(*match.span(), str(number + 1 if number < 1000 else 2 * number))


_LEFT_ALONE = re.compile(
    r"\{#.*?#\}"
    r"|--[^\n]*"
    # Which files are read at all; what is computed depends on the terms beside it.
    r"|(?<=\n)[^\n]*make_timestamptz\(\d+\)[^\n]*"
    r"|\{\{ config\(.*?\) \}\}"
    r"|\{\{ restated_by_window\(.*?\) \}\}"
    r"|\{%-? (?:macro|endmacro|endfor|endif|else|endset) .*?%\}"
    r"|\{\{ return\(adapter.*?\}\}",
    re.DOTALL,
)
_MACRO = re.compile(r"\{%-? macro (\w+)\(.*?\{%-? endmacro -?%\}", re.DOTALL)


def _masked(text: str) -> str:
    """The text with what is no code, or not DuckDB's, as blanks."""
    names = set(re.findall(r"\{%-? macro (\w+)\(", text))

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    def other_warehouse(match: re.Match[str]) -> str:
        dialect, _, name = match[1].partition("__")
        is_other = dialect == "bigquery" or (dialect == "default" and f"duckdb__{name}" in names)
        return blank(match) if is_other else match[0]

    return _LEFT_ALONE.sub(blank, _MACRO.sub(other_warehouse, text))
