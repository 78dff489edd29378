"""Rows of a foreign file: reads CSV or Parquet, gives one mapping per data row, in order.

A CSV row that does not fit the header is given as a `RaggedRow`, a cell that is not UTF-8 with its
bytes spelled out, so that neither ends the import and both can be shown in the dead letter.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from ami_contract.errors import SettingsError
from beam_jobs.import_map import ImportMap

MOST_LINE_CHARACTERS: Final = 1024 * 1024


@dataclass(frozen=True)
class RaggedRow:
    """A CSV row with more or fewer cells than the header.

    Attributes:
        cells: what it holds.
        expected: cells of the header.
    """

    cells: list[str]
    expected: int

    def __str__(self) -> str:
        return f"{len(self.cells)} cells where the header has {self.expected}: {self.cells}"


def _is_parquet(path: Path) -> bool:
    return path.suffix == ".parquet"


@contextmanager
def _csv_reader(path: Path, mapping: ImportMap) -> Iterator[Iterator[list[str]]]:
    with (
        pa.input_stream(str(path), compression="detect") as stream,
        io.TextIOWrapper(
            stream, encoding="utf-8-sig", errors="backslashreplace", newline=""
        ) as text,
    ):
        yield csv.reader(_lines(text), delimiter=mapping.delimiter)


def _lines(text: TextIO) -> Iterator[str]:
    """Lines with their ends; a few kilobytes of compressed file can stand for one of gigabytes.

    Raises:
        csv.Error: a line is longer than any row of readings.
    """
    for number in itertools.count(1):
        line = text.readline(MOST_LINE_CHARACTERS + 1)
        if len(line) > MOST_LINE_CHARACTERS:
            raise csv.Error(f"line {number} is longer than {MOST_LINE_CHARACTERS} characters")
        if not line:
            return
        yield line


def read_columns(path: Path, mapping: ImportMap) -> list[str]:
    """Column names of the file.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        if _is_parquet(path):
            return list(pq.read_schema(path).names)
        with _csv_reader(path, mapping) as rows:
            header = next(rows, None)
    except (OSError, pa.ArrowInvalid, csv.Error) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    if not header:
        raise SettingsError(f"{path}: cannot be read: it has no header line")
    return header


def read_rows(path: Path, mapping: ImportMap) -> Iterator[dict[str, Any] | RaggedRow]:
    """Mapped columns of every data row; blank lines of a CSV file are no rows.

    Raises:
        SettingsError: the file is damaged beyond this row.
    """
    try:
        yield from (_parquet_rows if _is_parquet(path) else _csv_rows)(path, mapping)
    except (OSError, pa.ArrowInvalid, csv.Error) as error:
        raise SettingsError(
            f"{path}: {error}; mend the file and import it again: what is stored stays"
        ) from error


def _csv_rows(path: Path, mapping: ImportMap) -> Iterator[dict[str, Any] | RaggedRow]:
    with _csv_reader(path, mapping) as rows:
        header = next(rows, [])
        places = [(name, header.index(name)) for name in mapping.columns]
        width = len(header)
        for cells in rows:
            if len(cells) == width:
                yield {name: cells[place] for name, place in places}
            elif cells:
                yield RaggedRow(cells, width)


def _parquet_rows(path: Path, mapping: ImportMap) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=mapping.columns):
            columns = [_values(column) for column in batch.columns]
            for values in zip(*columns, strict=True):
                yield dict(zip(batch.schema.names, values, strict=True))


def _values(column: pa.Array) -> list[Any]:
    """Values of a column as plain Python ones; a time no datetime can hold as its text."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    try:
        return column.to_pylist()
    except OverflowError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except OverflowError:
        return scalar.cast(pa.string()).as_py()
