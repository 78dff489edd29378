"""The faults that are put in: where they are found, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.mutation.operators import apply, python_faults, sql_faults

ROOT = Path(__file__).parents[2]


def mutants(text: str, of: object) -> set[str]:
    """All texts that faults make of `text`."""
    return {apply(text, fault) for fault in of(text)}  # type: ignore[operator]


def test_python_is_mutated_at_its_operators_and_constants() -> None:
    assert mutants("x = a < b and not c", python_faults) == {
        "x = a <= b and not c",
        "x = a < b or not c",
        "x = a < b and c",
    }
    assert mutants("for _ in y:\n    x += 1", python_faults) == {
        "for _ in y:\n    x -= 1",
        "for _ in y:\n    x += 2",
        "for _ in y:\n    pass",
    }


def test_texts_types_and_messages_are_left_alone() -> None:
    text = 'def f(a: int | None) -> "b":\n    """1 < 2"""\n    raise E(f"{a + 1}", "x < 1")\n'

    assert mutants(text, python_faults) == {text.replace('raise E(f"{a + 1}", "x < 1")', "pass")}


def test_sql_is_mutated_at_operators_functions_and_terms() -> None:
    found = mutants("select max(a)\nfrom t\nwhere\n    b <= 5\n    and c is null", sql_faults)

    assert found == {
        "select min(a)\nfrom t\nwhere\n    b <= 5\n    and c is null",
        "select max(a)\nfrom t\nwhere\n    b < 5\n    and c is null",
        "select max(a)\nfrom t\nwhere\n    b <= 6\n    and c is null",
        "select max(a)\nfrom t\nwhere\n    b <= 5\n    or c is null",
        "select max(a)\nfrom t\nwhere\n    b <= 5\n    and c is not null",
        "select max(a)\nfrom t\nwhere\n    true\n    and c is null",
        "select max(a)\nfrom t\nwhere\n    b <= 5\n    ",
    }


def test_statements_in_python_are_mutated_as_sql() -> None:
    text = '_S: Final = f"SELECT a FROM {t} WHERE b > 1"'

    assert mutants(text, python_faults) == {
        '_S: Final = f"SELECT a FROM {t} WHERE b >= 1"',
        '_S: Final = f"SELECT a FROM {t} WHERE b > 2"',
        '_S: Final = f"SELECT a FROM {t} WHERE true"',
    }


def test_a_column_of_a_window_and_a_default_can_be_forgotten() -> None:
    text = "select lag(coalesce(a, 0)) over (partition by b, c order by d) from t"

    assert mutants(text, sql_faults) >= {
        "select lead(coalesce(a, 0)) over (partition by b, c order by d) from t",
        "select lag(a) over (partition by b, c order by d) from t",
        "select lag(coalesce(a, 0)) over (partition by b order by d) from t",
    }


def test_lines_that_are_called_equivalent_still_stand() -> None:
    for entry in yaml.safe_load(Path(__file__).with_name("equivalent.yaml").read_text()):
        path = ROOT / entry["path"]
        assert entry["reason"]
        assert path.is_file(), entry["path"]
        if path.suffix == ".py":
            lines = [line.strip() for line in path.read_text().splitlines()]
            assert entry["line"] in lines, entry["line"]
