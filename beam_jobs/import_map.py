"""The import map: reads a YAML file, gives how a stranger's columns become readings."""

from __future__ import annotations

import re
from datetime import UTC, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ami_contract.errors import SettingsError

UNITS: Final[dict[str, dict[str, float]]] = {
    "voltage_v": {"V": 1.0, "kV": 1000.0, "mV": 0.001},
    "current_a": {"A": 1.0, "mA": 0.001, "kA": 1000.0},
    "power_kw": {"kW": 1.0, "W": 0.001, "MW": 1000.0},
    "reactive_kvar": {"kvar": 1.0, "var": 0.001, "Mvar": 1000.0},
    "freq_hz": {"Hz": 1.0, "mHz": 0.001},
}
_OFFSET: Final = re.compile(r"([+-])(\d\d):(\d\d)")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Quantity(_Strict):
    """A measured column: its name in the file and its unit there."""

    column: str
    unit: str | None = Field(None, description="Unit in the file; none: the contract's own.")


class Timestamp(_Strict):
    """Where the time stands: one column, or several that are joined by a space."""

    columns: Annotated[list[str], Field(min_length=1)]
    format: str | None = Field(
        None, description="strptime format; none: ISO 8601, zone optional. `unix_s`, `unix_ms`."
    )

    @model_validator(mode="before")
    @classmethod
    def _single(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"columns": [value]}
        if isinstance(value, dict) and "column" in value:
            return {
                **{k: v for k, v in value.items() if k != "column"},
                "columns": [value["column"]],
            }
        return value


class Identifier(_Strict):
    """A meter or pole id: the same for all rows (`value`) or from a column."""

    value: str | None = None
    column: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Identifier:
        if (self.value is None) == (self.column is None):
            raise ValueError("give either `value` or `column`")
        return self


class Site(_Strict):
    """Registry entry for the meters of the file, where the registry does not know them yet."""

    nominal_voltage_v: float = Field(gt=0, le=1000)
    transformer_id: str | None = None
    feeder_id: str | None = None
    rated_kva: float | None = Field(None, gt=0)
    latitude: float | None = Field(None, ge=-90, le=90)
    longitude: float | None = Field(None, ge=-180, le=180)
    time_zone: str | None = None


class ImportMap(_Strict):
    """How the rows of a file become readings.

    Attributes:
        event_ts: time column(s) and their format.
        time_zone: zone of times that carry none: an IANA name or an offset such as `+01:00`.
        meter_id, pole_id: identifiers.
        voltage_v, current_a, power_kw, reactive_kvar, freq_hz: measured columns.
        seq: column of the sample counter; none: counted from time and `sample_interval_s`.
        sample_interval_s: time between samples, in seconds.
        missing_values: texts that stand for "no value".
        delimiter, decimal_point: of a CSV file.
        registry: registry entry of new meters.
    """

    event_ts: Timestamp
    time_zone: str = "UTC"
    meter_id: Identifier
    pole_id: Identifier
    voltage_v: Quantity
    current_a: Quantity
    power_kw: Quantity
    reactive_kvar: Quantity | None = None
    freq_hz: Quantity | None = None
    seq: str | None = None
    sample_interval_s: float = Field(ge=0.001, le=86_400)
    missing_values: list[str] = ["", "?", "NA", "NaN", "null"]
    delimiter: str = Field(",", min_length=1, max_length=1)
    decimal_point: Literal[".", ","] = "."
    registry: Site

    @field_validator(
        "voltage_v", "current_a", "power_kw", "reactive_kvar", "freq_hz", mode="before"
    )
    @classmethod
    def _plain_name(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @field_validator("meter_id", "pole_id", mode="before")
    @classmethod
    def _plain_identifier(cls, value: Any) -> Any:
        return {"value": value} if isinstance(value, str) else value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        zone_of(value)
        return value

    @model_validator(mode="after")
    def _known_units(self) -> ImportMap:
        for name, allowed in UNITS.items():
            quantity = getattr(self, name)
            if quantity and quantity.unit and quantity.unit not in allowed:
                raise ValueError(
                    f"{name}.unit = {quantity.unit!r}: allowed are {', '.join(allowed)}"
                )
        return self

    @property
    def quantities(self) -> dict[str, Quantity]:
        """Mapped measured fields by contract name."""
        found = {name: getattr(self, name) for name in UNITS}
        return {name: quantity for name, quantity in found.items() if quantity}

    @property
    def columns(self) -> list[str]:
        """Every column of the file that the map names, once."""
        names = [
            *self.event_ts.columns,
            *(quantity.column for quantity in self.quantities.values()),
            *(identifier.column for identifier in (self.meter_id, self.pole_id)),
            self.seq,
        ]
        return list(dict.fromkeys(name for name in names if name))

    def factor(self, name: str) -> float:
        """What a value of the file is multiplied by to be in the contract's unit."""
        unit = self.quantities[name].unit
        return UNITS[name][unit] if unit else 1.0


def zone_of(name: str) -> tzinfo:
    """Zone of an IANA name or a fixed offset `±HH:MM`; raises ValueError for anything else."""
    if match := _OFFSET.fullmatch(name):
        sign = -1 if match[1] == "-" else 1
        return timezone(sign * timedelta(hours=int(match[2]), minutes=int(match[3])))
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is neither an IANA zone nor an offset like +01:00") from error


def load_map(path: Path) -> ImportMap:
    """Read an import map.

    Raises:
        SettingsError: one line with file, key, value and what is allowed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return ImportMap.model_validate(content)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole map"
        shown = first["input"] if isinstance(first["input"], str | int | float) else "…"
        raise SettingsError(f"{path}: {key} = {shown!r}: {first['msg']}") from error
