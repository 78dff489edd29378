"""Numbers as people read them: takes values, gives texts with units; what is unknown is a dash."""

from __future__ import annotations

from math import isnan
from typing import Final

UNKNOWN: Final = "–"
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400

METHODS: Final = {
    "caiso_10_of_10": "CAISO 10 of 10",
    "ercot_mid_8_of_10": "ERCOT middle 8 of 10",
    "pjm_high_4_of_5": "PJM high 4 of 5",
    "nyiso_high_5_of_10": "NYISO high 5 of 10",
    "median_n": "Median of 10",
    "same_time_mean": "Same-time mean",
}
ADJUSTMENTS: Final = {
    "own": "The method's own",
    "none": "None",
    "multiplicative": "Multiplicative",
    "additive": "Additive",
}
SCOPES: Final = {
    "meter": "one meter",
    "pole": "the whole pole",
    "feeder": "the feeder",
    "undetermined": "not determined",
}
GATES: Final = {
    "pass": "✓ passes",
    "fail": "✕ fails",
    "not_assessable": "? cannot be assessed",
}
REASONS: Final = {
    "insufficient_days": "too few days before it to make a baseline of",
    "insufficient_slots": "too few 5-minute slots are known",
}


def number(value: float | None, unit: str = "", digits: int = 1) -> str:
    """Such as `1,234.5 kWh`."""
    if value is None or isnan(value):
        return UNKNOWN
    text = f"{value:,.{digits}f}".replace("-", "−")
    return f"{text} {unit}".rstrip()


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 as percent; what is not quite 0 or 100 % is not told as that."""
    if share is None or isnan(share):
        return UNKNOWN
    least = 10**-digits
    value = 100 * share
    if 0 < value < least:
        return f"< {least:g} %"
    if 100 - least < value < 100:
        return f"> {100 - least:g} %"
    return f"{value:.{digits}f} %"


def duration(seconds: float | None) -> str:
    """Such as `12 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`."""
    if seconds is None or isnan(seconds):
        return UNKNOWN
    if abs(seconds) < _MINUTE_S:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, name, part, part_name in (
        (_DAY_S, "d", _HOUR_S, "h"),
        (_HOUR_S, "h", _MINUTE_S, "min"),
        (_MINUTE_S, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name}" + (f" {rest} {part_name}" if rest else "")
    return f"{whole} s"


def plural(count: int, one: str, many: str = "") -> str:
    """Such as `1 pole`, `1,200 poles`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
