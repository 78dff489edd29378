"""What is drawn has the distribution that was asked for, within tolerances that are stated.

Samples are fixed by their seed, so each test has one outcome. Tolerances are four standard errors
of what is estimated, or the 1 % point of the Kolmogorov-Smirnov distance, unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from simulator_helpers import run

from ami_contract.reading import Attribute
from simulator.config import NETWORK_LATENCY_MS, SimulationConfig, parse_config
from simulator.fleet import build_fleet
from simulator.meters import PoleMeters, Samples, concat
from simulator.voltage import Kind

Floats = npt.NDArray[np.float64]


def whole_fleet(config: SimulationConfig, first: int, end: int) -> list[Samples]:
    found = [PoleMeters(config, pole).samples(first, end) for pole in build_fleet(config).poles]
    return [samples for samples in found if samples is not None]


def distance_from_uniform(values: Sequence[float], low: float, high: float) -> float:
    """Kolmogorov-Smirnov distance of `values` from the uniform distribution on [low, high]."""
    share = (np.sort(values) - low) / (high - low)
    steps = np.arange(len(share) + 1) / len(share)
    return float(max((steps[1:] - share).max(), (share - steps[:-1]).max()))


def one_percent_point(count: int) -> float:
    return 1.628 / math.sqrt(count)


def spells(raw: dict[str, object], hours: int) -> tuple[list[float], list[float]]:
    """(durations in samples, depths) of every whole spell, a meter at a time."""
    lengths, depths = [], []
    for samples in whole_fleet(parse_config(raw), 4_500_000, 4_500_000 + hours * 3600):
        for meter in range(int(samples.meter.max()) + 1):
            mine = samples.take(samples.meter == meter)
            edges = np.flatnonzero(np.diff(np.r_[0, (mine.kind > 0).astype(int), 0]))
            for a, b in edges.reshape(-1, 2).tolist():
                if a > 0 and b < len(mine) and len(set(mine.level_pu[a:b].tolist())) == 1:
                    lengths.append(float(b - a))
                    depths.append(1 - float(mine.level_pu[a]))
    return lengths, depths


def test_sag_depth_and_duration_are_uniform_within_their_bounds() -> None:
    raw: dict[str, object] = {
        "fleet": {"poles": 20, "meters_per_pole": 10},
        "voltage_sag_prob": 0.8,
        "sag_scope_shares": {"meter": 1.0},
        "voltage_sag_depth": [0.12, 0.6],
        "voltage_sag_duration_s": [5, 65],
    }
    lengths, depths = spells(raw, 5)
    # 200 meters · 5 h · 0.8, less some that begin before or end after
    assert len(depths) == pytest.approx(800, abs=4 * math.sqrt(1000 * 0.8 * 0.2) + 10)
    assert distance_from_uniform(depths, 0.12, 0.6) < one_percent_point(len(depths))
    # A sag of d seconds covers ⌊d⌋ or ⌈d⌉ samples: half a sample more of tolerance.
    limit = one_percent_point(len(lengths)) + 0.5 / 60
    assert distance_from_uniform(lengths, 5, 65) < limit


def test_sags_come_in_the_shares_of_their_scopes() -> None:
    raw = {
        "fleet": {"feeders": 10, "poles": 40, "meters_per_pole": 5},
        "voltage_sag_prob": 0.4,
        "sag_scope_shares": {"meter": 0.5, "pole": 0.3, "feeder": 0.2},
        "voltage_sag_duration_s": [20, 20],
        "voltage_sag_depth": [0.3, 0.3],
    }
    hours = 5
    samples = concat(whole_fleet(parse_config(raw), 4_500_000, 4_500_000 + hours * 3600))
    assert set(samples.kind[samples.kind > 0].tolist()) == {int(Kind.SAG)}
    for scope, share, subjects in ((1, 0.5, 200), (2, 0.3, 40), (3, 0.2, 10)):
        low_s = int((samples.scope == scope).sum())
        chance = 0.4 * share
        # Each subject draws once an hour; all 200 meters see 200 / subjects of each draw.
        spread = 4 * math.sqrt(subjects * hours * chance * (1 - chance)) * 200 / subjects * 20
        assert low_s == pytest.approx(200 * hours * chance * 20, abs=spread), scope


@pytest.mark.parametrize("profile", list(NETWORK_LATENCY_MS))
def test_latency_has_the_quantiles_of_its_profile(profile: str) -> None:
    raw = {
        "pole_id": "p",
        "num_meters": 10,
        "publish_mode": "single",
        "network_profile": profile,
        "jitter_ms_range": [0, 0],
        "voltage_sag_prob": 0,
    }
    _, publisher = run(raw, 5)
    latencies = np.array([(m.due_us / 1000) % 1000 for m in publisher.messages])
    assert {m.attributes[Attribute.NETWORK_PROFILE] for m in publisher.messages} == {profile}
    low, high = NETWORK_LATENCY_MS[profile]
    assert len(latencies) == 3000
    assert low <= latencies.min() <= latencies.max() <= high
    for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
        expected = low + (high - low) * quantile
        tolerance = 4 * math.sqrt(quantile * (1 - quantile) / 3000) * (high - low)
        assert np.quantile(latencies, quantile) == pytest.approx(expected, abs=tolerance)
    assert distance_from_uniform(latencies.tolist(), low, high) < one_percent_point(3000)


def test_jitter_is_added_to_the_latency() -> None:
    raw = {
        "pole_id": "p",
        "publish_mode": "single",
        "network_profile": "wired",
        "jitter_ms_range": [100, 300],
    }
    _, publisher = run(raw, 5)
    latencies = np.array([(m.due_us / 1000) % 1000 for m in publisher.messages])
    assert latencies.min() >= 105
    assert latencies.max() <= 330
    # variance of two uniforms: (25² + 200²) / 12
    deviation = math.sqrt((25**2 + 200**2) / 12)
    assert latencies.mean() == pytest.approx(17.5 + 200, abs=4 * deviation / math.sqrt(1500))
    assert latencies.std() == pytest.approx(deviation, rel=0.06)


def test_reordered_readings_come_the_asked_number_of_batches_later() -> None:
    raw = {
        "fleet": {"poles": 10, "meters_per_pole": 10},
        "reorder_prob": 0.1,
        "reorder_max_batches": 4,
        "drop_prob": 0.05,
        "voltage_sag_prob": 0,
    }
    samples = concat(whole_fleet(parse_config(raw), 4_500_000, 4_500_900))
    count = len(samples)
    for fault, probability in ((1, 0.05), (4, 0.1)):
        hits = int((samples.fault == fault).sum())
        spread = 4 * math.sqrt(count * probability * (1 - probability))
        assert hits == pytest.approx(count * probability, abs=spread)
    delays = samples.detail[samples.fault == 4]
    shares = np.bincount(delays, minlength=5)[1:] / len(delays)
    assert shares == pytest.approx([0.25] * 4, abs=4 * math.sqrt(0.25 * 0.75 / len(delays)))


def mean_kwh(first_day: int, month: str) -> float:
    """Energy per meter of the day that begins `first_day` days after 2026-01-01 UTC (kWh)."""
    raw = {
        "fleet": {"poles": 4, "meters_per_pole": 100},
        "sample_hz": "1/300",
        "voltage_sag_prob": 0,
        "time_zone": "UTC",
        "load_profile": {"spikes_per_hour": 0},
    }
    day = np.datetime64("2026-01-01") + first_day
    assert str(day).startswith(month)
    parts = whole_fleet(parse_config(raw), first_day * 288, (first_day + 1) * 288)
    return sum(float(part.power_kw.sum()) for part in parts) / 12 / 400


@pytest.mark.parametrize(
    ("first_day", "month", "kind"),
    [(4, "2026-01", "weekday"), (9, "2026-01", "weekend"), (102, "2026-04", "weekday")],
)
def test_energy_of_a_day_is_that_of_its_curve_and_season(
    first_day: int, month: str, kind: str
) -> None:
    profile = parse_config({}).load_profile
    curve = profile.weekday if kind == "weekday" else profile.weekend
    expected = profile.base_kw * sum(curve) * profile.season[int(month[-2:]) - 1]
    # The log-normal meter factor (σ 0.35) leaves 1.8 % of standard error over 400 meters. The
    # curve is interpolated into the next day's first hour, here of the same kind of day or with a
    # difference below 0.2 %.
    assert mean_kwh(first_day, month) == pytest.approx(expected, rel=4 * 0.018)


def test_appliances_add_the_energy_of_their_rate() -> None:
    def kwh(spikes_per_hour: float) -> float:
        raw = {
            "fleet": {"poles": 1, "meters_per_pole": 100},
            "sample_hz": "1/60",
            "voltage_sag_prob": 0,
            "load_profile": {
                "spikes_per_hour": spikes_per_hour,
                "spike_kw_range": [1.0, 3.0],
                "spike_duration_s_range": [600, 1200],
            },
        }
        (samples,) = whole_fleet(parse_config(raw), 86_400, 86_400 + 1440)
        return float(samples.power_kw.sum()) / 60

    # 100 meters · 24 h · 2 per hour · 2 kW · 900 s; a Poisson count of 4 800 and the spread of
    # energies give 1.7 % of standard error.
    assert kwh(2) - kwh(0) == pytest.approx(100 * 24 * 2 * 2 * 0.25, rel=4 * 0.017)


@pytest.mark.parametrize("nominal", [120, 230, 240])
def test_power_identities_hold_in_every_reading_disturbed_or_not(nominal: int) -> None:
    raw = {
        "fleet": {"poles": 5, "meters_per_pole": 10},
        "voltage_nominal": nominal,
        "voltage_sag_prob": 0.5,
        "voltage_swell_prob": 0.2,
        "interruption_prob": 0.1,
        "load_profile": {"pv_share": 0.3, "ev_share": 0.3},
    }
    samples = concat(whole_fleet(parse_config(raw), 4_500_000, 4_503_600))
    assert len(set(samples.kind.tolist())) == 4
    apparent = samples.voltage_v * samples.current_a / 1000
    factor = samples.power_kw / np.maximum(np.hypot(samples.power_kw, samples.reactive_kvar), 1e-9)
    # V · I · pf = P up to half a milliampere of current.
    np.testing.assert_array_less(
        np.abs(apparent * factor - samples.power_kw), 0.0005 * samples.voltage_v / 1000 + 1e-9
    )
    # Roofs take from P and not from Q, so below the load's own factor there is no bound.
    assert factor[samples.power_kw > 0.2].max() <= 0.9901
