"""Voltage limits that charts draw: takes a nominal voltage, gives ANSI C84.1's ranges in volts.

The same numbers stand as vars in `dbt_ami/dbt_project.yml`; a test holds them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ANSI_BASE_V: Final = 120.0
RANGE_A_V: Final = (114.0, 126.0)
RANGE_B_V: Final = (110.0, 127.0)
LOW_V: Final = 220.0
LOW_BASE_V: Final = 240.0


@dataclass(frozen=True)
class Limits:
    """Limits of one nominal voltage. [V]

    Attributes:
        nominal_v: nominal voltage.
        a_min_v, a_max_v: Range A, where voltage should be.
        b_min_v, b_max_v: Range B, which it may reach at times.
        low_v: below it a reading is low.
    """

    nominal_v: float
    a_min_v: float
    a_max_v: float
    b_min_v: float
    b_max_v: float
    low_v: float


def limits_of(nominal_v: float) -> Limits:
    """Limits scaled to a nominal voltage."""
    scale = nominal_v / ANSI_BASE_V
    return Limits(
        nominal_v,
        RANGE_A_V[0] * scale,
        RANGE_A_V[1] * scale,
        RANGE_B_V[0] * scale,
        RANGE_B_V[1] * scale,
        LOW_V * nominal_v / LOW_BASE_V,
    )


def ranges_text(limits: Limits) -> str:
    """What the colours behind a voltage mean."""
    return (
        f"Green: ANSI C84.1 Range A, {limits.a_min_v:g} to {limits.a_max_v:g} V; yellow: Range B, "
        f"{limits.b_min_v:g} to {limits.b_max_v:g} V; dashed: low voltage, {limits.low_v:g} V."
    )
