"""Reads times and a pole's traits; gives each meter's active power: load, PV and what DR shed.

Load = base × daily curve × season × meter factor × autocorrelated noise + appliances + EV.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from simulator.config import DemandResponseEvent, SimulationConfig
from simulator.streams import KnotNoise, Purpose, Stream

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
QUARTER_MS: Final = 900_000
LEAST_LOAD_KW: Final = 0.03
"""Stand-by of a household (kW); an assumption."""


@dataclass(frozen=True)
class PowerBlock:
    """Active power of a pole's meters, each [meters × times] in kW.

    Attributes:
        load_kw: consumption after any shed.
        pv_kw: generation, ≥ 0.
        shed_kw: by index of the demand-response event, consumption without minus with the event
            (negative in the rebound).
    """

    load_kw: Floats
    pv_kw: Floats
    shed_kw: dict[int, Floats]


@dataclass(frozen=True)
class _Burst:
    """An appliance or a charging session of one meter."""

    meter: int
    start_ms: float
    end_ms: float
    power_kw: float


@lru_cache(maxsize=4096)
def _offset_ms(zone: str, quarter: int) -> int:
    """UTC offset of `zone` in the quarter hour with this number since 1970 (ms)."""
    instant = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, UTC).astimezone(ZoneInfo(zone))
    offset = instant.utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1000)


def local_ms(t_ms: Times, zone: str) -> Times:
    """Local wall-clock time of UTC times, as ms since 1970 read as if it were UTC."""
    quarters, where = np.unique(t_ms // QUARTER_MS, return_inverse=True)
    offsets = np.array([_offset_ms(zone, int(q)) for q in quarters], dtype=np.int64)
    return t_ms + offsets[where]


def daily_factor(config: SimulationConfig, t_ms: Times) -> Floats:
    """Product of daily curve and season at UTC times (dimensionless)."""
    profile = config.load_profile
    wall = local_ms(t_ms, config.time_zone)
    day = wall // DAY_MS
    hour = (wall % DAY_MS) / HOUR_MS
    base = hour.astype(np.int64)
    share = hour - base
    weekend = ((day + 3) % 7) >= 5  # 1970-01-01 was a Thursday
    curves = np.array([profile.weekday, profile.weekend])
    kind = weekend.astype(np.int64)
    left = curves[kind, base]
    curve = left + (curves[kind, (base + 1) % 24] - left) * share
    days, where = np.unique(day, return_inverse=True)
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    return curve * np.array(profile.season)[months][where]


def clear_sky_factor(t_ms: Times, zone: str, latitude: float) -> Floats:
    """Share of a roof's peak under a clear sky, 0 at night.

    Sine of the sun's elevation with Cooper's declination (1969); noon at 12:00 local winter time
    is an assumption.
    """
    wall = local_ms(t_ms, zone)
    day_of_year = (
        wall // DAY_MS
        - (wall // DAY_MS)
        .astype("datetime64[D]")
        .astype("datetime64[Y]")
        .astype("datetime64[D]")
        .astype(np.int64)
    ) + 1.0
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day_of_year) / 365)
    hour_angle = np.pi * ((wall % DAY_MS) / HOUR_MS - 12) / 12
    lat = np.radians(latitude)
    elevation = np.sin(lat) * np.sin(declination) + np.cos(lat) * np.cos(declination) * np.cos(
        hour_angle
    )
    return np.clip(elevation, 0, None)


class PoleLoad:
    """Power of the meters of one pole.

    Args:
        config: the simulation.
        streams: one per meter.
        pole_stream: of the pole, for the clouds above it.
        latitude: of the pole (degree).
    """

    def __init__(
        self, config: SimulationConfig, streams: list[Stream], pole_stream: Stream, latitude: float
    ) -> None:
        profile = config.load_profile
        self._config = config
        self._streams = streams
        self._latitude = latitude
        traits = np.stack([s.at(Purpose.TRAITS).random(8) for s in streams])
        normals = np.array([s.at(Purpose.TRAITS, 1).standard_normal() for s in streams])
        sigma = profile.meter_factor_sigma
        # exp(σx − σ²/2) has mean 1, so base_kw stays the mean of the fleet.
        self._factor = np.exp(sigma * normals - sigma**2 / 2)[:, None]
        self._has_ev = traits[:, 0] < profile.ev_share
        low, high = profile.pv_kwp_range
        self._pv_kwp = np.where(
            traits[:, 1] < profile.pv_share, low + (high - low) * traits[:, 2], 0.0
        )[:, None]
        self._slow = KnotNoise(streams, Purpose.KNOTS_LOAD_SLOW, 600_000)
        self._fast = KnotNoise(streams, Purpose.KNOTS_LOAD_FAST, 45_000)
        self._cloud = KnotNoise([pole_stream], Purpose.KNOTS_CLOUD, 180_000)
        self._appliances: dict[int, list[_Burst]] = {}
        self._charging: dict[int, list[_Burst]] = {}
        self._participates = {
            index: np.array(
                [s.at(Purpose.DEMAND_RESPONSE, index).random() < e.participation for s in streams]
            )[:, None]
            for index, e in enumerate(config.dr_events)
        }

    def power(self, t_ms: Times) -> PowerBlock:
        """Power at the rising times `t_ms` (ms since 1970)."""
        profile = self._config.load_profile
        noise = profile.noise_sigma * (0.9 * self._slow.at(t_ms) + 0.45 * self._fast.at(t_ms))
        load = daily_factor(self._config, t_ms) * (profile.base_kw * self._factor) * (1 + noise)
        np.maximum(load, LEAST_LOAD_KW, out=load)
        self._add_bursts(load, t_ms)
        shed: dict[int, Floats] = {}
        for index, event in enumerate(self._config.dr_events):
            share = shed_share(event, t_ms)
            if share is not None:
                less = np.where(self._participates[index], load * share, 0.0)
                less = np.minimum(less, load - np.minimum(load, LEAST_LOAD_KW))
                shed[index] = less
        for less in shed.values():
            load = load - less
        np.maximum(load, LEAST_LOAD_KW, out=load)
        return PowerBlock(load, self._pv(t_ms), shed)

    def _pv(self, t_ms: Times) -> Floats:
        if not self._pv_kwp.any():
            return np.zeros((len(self._streams), len(t_ms)))
        sun = clear_sky_factor(t_ms, self._config.time_zone, self._latitude)
        cloud = np.clip(0.8 + 0.25 * self._cloud.at(t_ms), 0.1, 1.0)
        return self._pv_kwp * (sun * cloud)

    def _add_bursts(self, load: Floats, t_ms: Times) -> None:
        first, last = int(t_ms[0]), int(t_ms[-1])
        longest = int(self._config.load_profile.spike_duration_s_range[1] * 1000)
        bursts = []
        for hour in range((first - longest) // HOUR_MS, last // HOUR_MS + 1):
            bursts += self._appliances_of(hour)
        if self._has_ev.any():
            for day in range(first // DAY_MS - 1, last // DAY_MS + 1):
                bursts += self._charging_of(day)
        for burst in bursts:
            if burst.end_ms > first and burst.start_ms <= last:
                a, b = np.searchsorted(t_ms, (burst.start_ms, burst.end_ms))
                load[burst.meter, a:b] += burst.power_kw

    def _appliances_of(self, hour: int) -> list[_Burst]:
        found = self._appliances.get(hour)
        if found is None:
            profile = self._config.load_profile
            found = []
            for meter, stream in enumerate(self._streams):
                rng = stream.at(Purpose.APPLIANCES, hour)
                count = int(rng.poisson(profile.spikes_per_hour))
                for start, length, power in rng.random((count, 3)).tolist():
                    start_ms = (hour + start) * HOUR_MS
                    length_ms = 1000 * _within(profile.spike_duration_s_range, length)
                    kw = _within(profile.spike_kw_range, power)
                    found.append(_Burst(meter, start_ms, start_ms + length_ms, kw))
            _remember(self._appliances, hour, found)
        return found

    def _charging_of(self, day: int) -> list[_Burst]:
        """Charging that starts in the local evening of UTC day `day` (17:00 to 22:00 local)."""
        found = self._charging.get(day)
        if found is None:
            noon = day * DAY_MS + DAY_MS // 2
            offset = _offset_ms(self._config.time_zone, noon // QUARTER_MS)
            found = []
            for meter in np.flatnonzero(self._has_ev).tolist():
                chance, start, length = self._streams[meter].at(Purpose.EV, day).random(3).tolist()
                if chance < 0.7:
                    start_ms = day * DAY_MS - offset + (17 + 5 * start) * HOUR_MS
                    hours = 1 + 3 * length
                    kw = self._config.load_profile.ev_kw
                    found.append(_Burst(meter, start_ms, start_ms + hours * HOUR_MS, kw))
            _remember(self._charging, day, found)
        return found


def shed_share(event: DemandResponseEvent, t_ms: Times) -> Floats | None:
    """Share of load that `event` takes away at `t_ms`; negative in the rebound; None: not near."""
    start = event.start.timestamp() * 1000
    end = start + event.duration_s * 1000
    over = end + event.rebound_s * 1000
    if t_ms[-1] < start or t_ms[0] >= over:
        return None
    shed = np.where((t_ms >= start) & (t_ms < end), event.shed_share, 0.0)
    fading = event.rebound_share * (over - t_ms) / (over - end)
    return np.where((t_ms >= end) & (t_ms < over), -fading, shed)


def _within(bounds: tuple[float, float], share: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _remember(cache: dict[int, list[_Burst]], key: int, value: list[_Burst]) -> None:
    while len(cache) >= 96:
        del cache[min(cache)]
    cache[key] = value
