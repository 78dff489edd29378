"""How well the baselines find a known shed: the simulator's own load at 5-minute means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pytest

from ami_contract.lake import DataDir
from simulator.config import SimulationConfig
from simulator.fleet import build_fleet
from simulator.load import PoleLoad
from simulator.streams import Stream

from .conftest import run_dbt
from .dr_world import DR_MODELS, write_world
from .reference_dr import SLOT, Event, MeterSlot, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ZONE = "America/Los_Angeles"
FIRST = datetime(2026, 6, 1, 7, tzinfo=UTC)
DAYS = 74
STEP_S = 60
NOT_NEEDED = ("dr_5min_baseline", "dr_candidate_days")
EVENT_DAYS = (4, 6, 11, 13)
"""Of August: Tuesdays and Thursdays, 17:00 to 19:00 local."""


@dataclass
class Simulated:
    """The built warehouse and the energy that was truly shed, by event and pole."""

    con: duckdb.DuckDBPyConnection
    shed_kwh: dict[tuple[str, str], float]
    load_kwh: dict[tuple[str, str], float]


def _events() -> list[tuple[str, datetime]]:
    return [(f"august-{day}", datetime(2026, 8, day + 1, tzinfo=UTC)) for day in EVENT_DAYS]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """Twenty poles of twenty meters over ten weeks, four events at the end."""
    config = SimulationConfig.model_validate(
        {
            "seed": 11,
            "time_zone": ZONE,
            "fleet": {"poles": 20, "meters_per_pole": 20},
            "dr_events": [
                {"event_id": name, "start": start, "duration_s": 7200} for name, start in _events()
            ],
        }
    )
    per_slot = int(SLOT.total_seconds()) // STEP_S
    meters: dict[tuple[str, str], dict[datetime, MeterSlot]] = {}
    shed: dict[tuple[str, str], float] = {}
    load: dict[tuple[str, str], float] = {}
    for pole in build_fleet(config).poles:
        streams = [Stream(config.seed, "meter", m.meter_id) for m in pole.meters]
        model = PoleLoad(config, streams, Stream(config.seed, "pole", pole.pole_id), pole.latitude)
        rows: dict[datetime, MeterSlot] = {}
        for day in range(DAYS):
            start = FIRST + timedelta(day)
            t_ms = int(start.timestamp()) * 1000 + np.arange(0, 86_400, STEP_S) * 1000
            block = model.power(t_ms)
            kw = block.load_kw.sum(axis=0).reshape(288, per_slot).mean(axis=1)
            for number, value in enumerate(kw.tolist()):
                rows[start + number * SLOT] = MeterSlot(value / 12, 300.0, 300.0)
            for index, less in block.shed_kw.items():
                name, begins = _events()[index]
                during = (t_ms >= begins.timestamp() * 1000) & (
                    t_ms < (begins.timestamp() + 7200) * 1000
                )
                key = name, pole.pole_id
                shed[key] = shed.get(key, 0.0) + less[:, during].sum() * STEP_S / 3600
                used = block.load_kw[:, during] + less[:, during]
                load[key] = load.get(key, 0.0) + used.sum() * STEP_S / 3600
        meters[pole.pole_id, pole.pole_id] = rows
    poles = [pole for pole, _ in meters]
    events = [
        Event(name, pole, start, start + timedelta(hours=2))
        for name, start in _events()
        for pole in poles
    ]
    data = DataDir(tmp_path_factory.mktemp("dr"))
    write_world(data, World(dict.fromkeys(poles, ZONE), meters, {}, set(), events[:: len(poles)]))
    with duckdb.connect(str(data.warehouse)) as writing:
        writing.execute("update dr_events set pole_ids = 'all'")
    done = run_dbt(data, "run", "--select", *DR_MODELS, "--exclude", *NOT_NEEDED)
    assert done.returncode == 0, done.stdout
    con = duckdb.connect(str(data.warehouse), read_only=True)
    yield Simulated(con, shed, load)
    con.close()


def test_adjusted_shed_is_within_five_percent_of_load(simulated: Simulated) -> None:
    """Mean |error| of the shed energy over 4 events × 20 poles, as a share of the load."""
    rows = simulated.con.execute(
        "select method, event_id, pole_id, shed_kwh from dr_event_summary where is_own_adjustment"
    ).fetchall()
    errors: dict[str, list[float]] = {}
    for method, event, pole, shed_kwh in rows:
        key = event, pole
        error = (shed_kwh - simulated.shed_kwh[key]) / simulated.load_kwh[key]
        errors.setdefault(method, []).append(abs(error))
    mean_error = {method: float(np.mean(of)) for method, of in errors.items()}
    print({method: f"{100 * value:.2f} %" for method, value in mean_error.items()})

    assert all(len(of) == 80 for of in errors.values())
    assert max(mean_error.values()) <= 0.05


def test_adjusted_baselines_are_not_biased_on_days_without_events(simulated: Simulated) -> None:
    """Pooled over 20 poles: Σ(baseline − actual)/Σactual of the usual window."""
    rows = simulated.con.execute(
        """
        select method, adjustment, is_own_adjustment,
            sum(bias * mean_actual_kw * placebo_hours) / sum(mean_actual_kw * placebo_hours),
            avg(rrmse), count(case when gate = 'pass' then 1 end)
        from dr_baseline_accuracy where reference_id = 'default_window'
        group by all order by all
        """
    ).fetchall()
    for method, adjustment, _, bias, rrmse, passed in rows:
        print(f"{method:20} {adjustment:15} {100 * bias:6.2f} % {100 * rrmse:6.2f} % {passed}")

    own = {method: bias for method, _, is_own, bias, _, _ in rows if is_own}
    assert max(abs(bias) for bias in own.values()) <= 0.02
