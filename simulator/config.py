"""Reads a YAML file and overrides; gives a checked `SimulationConfig` or says in one line why not.

Every key stands here once, with unit, default and meaning; `describe_config` renders them for
people. Nothing is coerced: a numeric string or a boolean where a number belongs is refused.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import types
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from ami_contract.errors import AmiError, SettingsError
from ami_contract.reading import IDENTIFIER_PATTERN

SAG_THRESHOLD_PU: Final = 220 / 240
"""Below this share of nominal a reading is low (ANSI C84.1 Range B minimum at 240 V)."""

NETWORK_LATENCY_MS: Final[Mapping[str, tuple[float, float]]] = {
    "wired": (5.0, 30.0),
    "5g": (20.0, 200.0),
    "lte_m": (50.0, 300.0),
    "sat": (300.0, 900.0),
}
"""One-way latency of a backhaul profile, uniform between the two bounds (ms)."""

MAX_DISTURBANCE_S: Final = 3600.0
MAX_METERS: Final = 1_000_000


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")  # noqa: TRY004 - pydantic reports ValueError only
    return value


def _integer(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number")  # noqa: TRY004 - pydantic reports ValueError only
    return value


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("[lower, upper] with lower ≤ upper")
    return bounds


def _pair(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("two numbers: [lower, upper]")
    return value


def _rate(value: object) -> object:
    """`1`, `0.5` or `"1/900"` as samples per second."""
    if isinstance(value, str):
        try:
            value = float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            raise ValueError("a number of Hz or a fraction such as 1/900") from None
    _number(value)
    hz = float(value)  # type: ignore[arg-type]
    if not 1 / 900 - 1e-9 <= hz <= 50:
        raise ValueError("between 1/900 and 50 Hz")
    interval_ms = 1000 / hz
    if abs(interval_ms - round(interval_ms)) > 1e-6 * interval_ms:
        raise ValueError("a rate whose sample interval is a whole number of milliseconds")
    return hz


def _utc(value: object) -> object:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("a time such as 2026-01-01T00:00:00Z") from None
    if not isinstance(value, datetime):
        raise ValueError("a time such as 2026-01-01T00:00:00Z")  # noqa: TRY004
    if value.tzinfo is None:
        raise ValueError("a time with a zone, such as 2026-01-01T00:00:00Z")
    return value.astimezone(UTC)


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("an IANA time zone such as America/Los_Angeles") from None
    return value


def _profiles(value: object) -> object:
    """One profile name or a list of them."""
    return [value] if isinstance(value, str) else value


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_integer)]
Probability = Annotated[Number, Field(ge=0, le=1)]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Range = Annotated[tuple[NotNegative, NotNegative], BeforeValidator(_pair), AfterValidator(_ordered)]
SignedRange = Annotated[tuple[Number, Number], BeforeValidator(_pair), AfterValidator(_ordered)]
SagDepthRange = Annotated[
    tuple[Annotated[Number, Field(ge=0.09, le=0.89)], Annotated[Number, Field(ge=0.09, le=0.89)]],
    BeforeValidator(_pair),
    AfterValidator(_ordered),
]
SwellHeightRange = Annotated[
    tuple[Annotated[Number, Field(ge=0.1, le=0.8)], Annotated[Number, Field(ge=0.1, le=0.8)]],
    BeforeValidator(_pair),
    AfterValidator(_ordered),
]
SagDurationRange = Annotated[
    tuple[
        Annotated[Number, Field(gt=0, le=MAX_DISTURBANCE_S)],
        Annotated[Number, Field(gt=0, le=MAX_DISTURBANCE_S)],
    ],
    BeforeValidator(_pair),
    AfterValidator(_ordered),
]
Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]
Prefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{0,64}$")]
Instant = Annotated[datetime, BeforeValidator(_utc)]
Profile = Literal["wired", "5g", "lte_m", "sat"]
Curve24 = Annotated[list[NotNegative], Field(min_length=24, max_length=24)]
Curve12 = Annotated[list[NotNegative], Field(min_length=12, max_length=12)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FleetConfig(_Model):
    """Size and names of a fleet: feeders → poles → transformers → meters."""

    feeders: Whole = Field(1, ge=1, le=1000, description="Feeders.")
    poles: Whole = Field(1, ge=1, le=100_000, description="Poles in all, spread over the feeders.")
    transformers_per_pole: Whole = Field(1, ge=1, le=6, description="Transformers on each pole.")
    meters_per_pole: Whole = Field(5, ge=1, le=10_000, description="Meters on each pole.")
    rated_kva: Positive | None = Field(
        None, description="kVA of each transformer; empty: next standard size for its meters."
    )
    id_prefix: Prefix = Field("", description="Put before every identifier of the fleet.")
    latitude: Number = Field(37.8, ge=-89, le=89, description="degree; where the fleet lies.")
    longitude: Number = Field(-122.3, ge=-179, le=179, description="degree; where it lies.")


class LoadProfile(_Model):
    """Household load: daily curve × season × meter factor, noise, appliances, EV and PV.

    The default curves are an assumption, shaped like published residential load profiles: a
    morning shoulder, an evening peak, higher at weekends around noon.
    """

    base_kw: Positive = Field(1.0, le=1000, description="kW; mean household load.")
    weekday: Curve24 = Field(
        [
            0.55, 0.48, 0.45, 0.43, 0.45, 0.58, 0.85, 1.05, 0.95, 0.82, 0.78, 0.80,
            0.85, 0.82, 0.80, 0.90, 1.15, 1.55, 1.85, 1.90, 1.70, 1.40, 1.05, 0.75,
        ],
        description="Factor at each local hour, Monday to Friday, interpolated.",
    )  # fmt: skip
    weekend: Curve24 = Field(
        [
            0.62, 0.54, 0.48, 0.46, 0.46, 0.50, 0.62, 0.85, 1.10, 1.25, 1.28, 1.30,
            1.32, 1.25, 1.18, 1.20, 1.30, 1.55, 1.75, 1.78, 1.60, 1.35, 1.05, 0.80,
        ],
        description="Factor at each local hour, Saturday and Sunday, interpolated.",
    )  # fmt: skip
    season: Curve12 = Field(
        [1.10, 1.06, 0.98, 0.92, 0.92, 1.02, 1.15, 1.16, 1.05, 0.93, 0.96, 1.08],
        description="Factor of each month, January first.",
    )
    meter_factor_sigma: NotNegative = Field(
        0.35, le=2, description="σ of the log-normal factor that sets meters apart."
    )
    noise_sigma: NotNegative = Field(
        0.15, le=0.3, description="Relative σ of the autocorrelated load noise."
    )
    spikes_per_hour: NotNegative = Field(
        1.2, le=60, description="Appliance switch-ons, per meter-hour."
    )
    spike_kw_range: Range = Field((0.4, 2.5), description="kW of an appliance.")
    spike_duration_s_range: SagDurationRange = Field((45, 900), description="s of an appliance.")
    ev_share: Probability = Field(0.0, description="Share of meters with EV charging.")
    ev_kw: Positive = Field(7.2, le=350, description="kW of a charger.")
    pv_share: Probability = Field(0.0, description="Share of meters with rooftop PV (export).")
    pv_kwp_range: Range = Field((3.0, 8.0), description="kW peak of a roof.")


class Outage(_Model):
    """A supply outage: last gasp, silence, `power_restored`; `seq` stands still meanwhile."""

    subject: Identifier = Field(description="Feeder, pole or meter that loses supply.")
    start: Instant = Field(description="UTC; first moment without supply.")
    duration_s: Positive = Field(le=30 * 86_400, description="s until supply is back.")


class Replacement(_Model):
    """A meter exchanged on the spot: same `meter_id`, `seq` starts again at 0."""

    meter_id: Identifier = Field(description="Meter that is exchanged.")
    at: Instant = Field(description="UTC; first sample of the new device.")


class Silence(_Model):
    """A meter that measures but is not heard: every reading counts as dropped."""

    meter_id: Identifier = Field(description="Meter that falls silent.")
    start: Instant = Field(description="UTC; first reading not heard.")
    duration_s: Positive = Field(le=366 * 86_400, description="s until it is heard again.")


class DemandResponseEvent(_Model):
    """Participating meters shed a share of their load and take some of it back afterwards."""

    event_id: Identifier = Field(description="Name of the event.")
    start: Instant = Field(description="UTC; start of the shed.")
    duration_s: Positive = Field(le=86_400, description="s of shed.")
    participation: Probability = Field(0.6, description="Share of the meters that take part.")
    shed_share: Probability = Field(0.3, description="Share of its load that such a meter sheds.")
    rebound_share: NotNegative = Field(
        0.1, le=2, description="Extra share of load right after, falling to 0."
    )
    rebound_s: Positive = Field(7200, le=86_400, description="s that the rebound lasts.")


class SimulationConfig(_Model):
    """All that decides what is simulated; together with a time window it decides every byte."""

    seed: Whole = Field(0, ge=0, le=2**63 - 1, description="Seed of all randomness.")
    seq_origin: Instant = Field(
        datetime(2026, 1, 1, tzinfo=UTC),
        description="UTC; sample 0 of every meter: seq = (event_ts - seq_origin) / interval.",
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        "America/Los_Angeles", description="IANA zone of the site; the daily curve follows it."
    )
    pole_id: Identifier | None = Field(
        None, description="A single pole of this name, with `num_meters`; excludes `fleet`."
    )
    num_meters: Whole | None = Field(
        None, ge=1, le=MAX_METERS, description="Meters of the single pole (empty: 5)."
    )
    fleet: FleetConfig | None = Field(
        None, description="Several poles; excludes `pole_id` and `num_meters`."
    )
    registry: str | None = Field(
        None,
        min_length=1,
        description="CSV with the meters to simulate, in the form of the platform's "
        "`registry/meters.csv`, relative to this file; excludes `pole_id`, `num_meters`, `fleet`.",
    )
    sample_hz: Annotated[float, BeforeValidator(_rate)] = Field(
        1.0, description="Hz; samples per second and meter, 1/900 to 50."
    )
    publish_mode: Literal["single", "batch"] = Field(
        "batch", description="One message per reading, or per gateway batch."
    )
    payload: Literal["json", "ndjson", "arrow"] = Field(
        "json", description="Form of the payload; single mode knows json only."
    )
    batch_interval_s: Positive = Field(
        5.0, le=3600, description="s that a gateway collects (at least one sample interval)."
    )
    batch_max_readings: Whole = Field(
        500, ge=1, le=5000, description="Most readings in one message."
    )
    network_profile: Annotated[
        list[Profile], BeforeValidator(_profiles), Field(min_length=1, max_length=100)
    ] = Field(["wired"], description="Backhaul of the poles; a list goes round the poles in turn.")
    jitter_ms_range: Range = Field((0, 20), description="ms added to the latency of a message.")
    drop_prob: Probability = Field(0.0, description="Per reading: lost before the gateway.")
    reorder_prob: Probability = Field(0.0, description="Per reading: arrives some batches later.")
    reorder_max_batches: Whole = Field(
        4, ge=1, le=100, description="Most batches (single mode: samples) it comes later."
    )
    spool_max_s: Positive = Field(
        3600.0,
        le=30 * 86_400,
        description="s of messages that the gateway keeps while it cannot send.",
    )
    spool_max_mb: Positive = Field(
        512.0, le=1_000_000, description="MB of disk for them; the oldest go first."
    )
    duplicate_prob: Probability = Field(0.0, description="Per reading: sent once more.")
    bad_payload_prob: Probability = Field(0.0, description="Per reading: damaged on the way.")
    clock_offset_ms_range: SignedRange = Field(
        (0, 0), description="ms; fixed offset of each meter's clock from the sample grid."
    )
    clock_drift_ppm_range: SignedRange = Field(
        (0, 0), description="ppm; a clock strays for half a day and is steered back as fast."
    )
    voltage_nominal: Literal[120, 230, 240] = Field(240, description="V; nominal voltage.")
    frequency_nominal_hz: Literal[50, 60] | None = Field(
        None, description="Hz; empty: 50 at 230 V, else 60."
    )
    voltage_sag_prob: Probability = Field(
        0.01, description="Sags that a meter sees per hour, over all scopes."
    )
    voltage_sag_depth: SagDepthRange = Field(
        (0.10, 0.45), description="pu below nominal in a sag, 0.09 to 0.89."
    )
    voltage_sag_duration_s: SagDurationRange = Field((2, 45), description="s of a sag.")
    sag_scope_shares: dict[Literal["meter", "pole", "feeder"], Probability] = Field(
        {"meter": 0.7, "pole": 0.2, "feeder": 0.1},
        description="How `voltage_sag_prob` divides among the scopes; the sum is 1.",
    )
    force_sag_every_s: Positive | None = Field(
        None, le=86_400, description="s; in each such UTC slot every pole shows one sag of ≥ 5 s."
    )
    voltage_swell_prob: Probability = Field(0.0, description="Swells per meter-hour.")
    voltage_swell_height: SwellHeightRange = Field(
        (0.12, 0.25), description="pu above nominal in a swell, 0.1 to 0.8."
    )
    interruption_prob: Probability = Field(
        0.0, description="Interruptions per meter-hour that the meter rides through."
    )
    interruption_duration_s: SagDurationRange = Field((1, 60), description="s of an interruption.")
    feeder_drop_pu: NotNegative = Field(
        0.03, le=0.04, description="pu of voltage lost when the pole draws its rated power."
    )
    load_profile: LoadProfile = Field(LoadProfile(), description="How much power, and when.")
    outages: list[Outage] = Field([], description="Supply outages.")
    replacements: list[Replacement] = Field([], description="Meters exchanged.")
    silences: list[Silence] = Field([], description="Meters that are not heard.")
    dr_events: list[DemandResponseEvent] = Field([], description="Demand-response events.")
    pubsub_topic: Identifier | None = Field(
        None, description="Topic to publish to; empty: the platform's (`AMI_PUBSUB_TOPIC`)."
    )

    @property
    def sample_interval_ms(self) -> int:
        """T, the time between two samples of a meter (ms)."""
        return round(1000 / self.sample_hz)

    @property
    def batch_interval_ms(self) -> int:
        """Time that one gateway batch covers (ms): one sample in single mode."""
        if self.publish_mode == "single":
            return self.sample_interval_ms
        return max(round(self.batch_interval_s * 1000), self.sample_interval_ms)

    @property
    def seq_origin_ms(self) -> int:
        """`seq_origin` as ms since 1970."""
        return round(self.seq_origin.timestamp() * 1000)

    @property
    def frequency_hz(self) -> int:
        """Nominal frequency (Hz)."""
        return self.frequency_nominal_hz or (50 if self.voltage_nominal == 230 else 60)

    @property
    def sag_threshold_v(self) -> float:
        """A reading below this is low (V)."""
        return SAG_THRESHOLD_PU * self.voltage_nominal

    def digest(self) -> str:
        """12 hex digits that name this configuration."""
        content = self.model_dump(mode="json")
        if self.registry is not None:
            # What the file says counts, not where it lies.
            content["registry"] = hashlib.sha256(Path(self.registry).read_bytes()).hexdigest()
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, which plain YAML would let win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is not a text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_config(
    path: Path | str, overrides: Mapping[str, object] | None = None
) -> SimulationConfig:
    """Configuration in `path`, with `overrides` on top.

    Args:
        path: YAML file.
        overrides: dotted key → value, e.g. `{"fleet.poles": 4}`. `poles` and `meters` stand for
            the number of poles and of meters per pole in either form of configuration.

    Raises:
        SettingsError: one line `file: key.path = value: what is allowed`.
    """
    path = Path(path)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)  # noqa: S506
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: is not YAML: {_yaml_problem(error)}") from error
    raw = {} if raw is None else raw
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: holds {_shown(raw)}: a mapping of keys is expected")
    for key, value in (overrides or {}).items():
        _override(raw, key, value, path)
    if isinstance(raw.get("registry"), str) and raw["registry"]:
        raw["registry"] = str(path.parent.absolute() / raw["registry"])
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, object], source: str = "config") -> SimulationConfig:
    """Configuration of a mapping; `source` names it in errors.

    Raises:
        SettingsError: one line `source: key.path = value: what is allowed`.
    """
    try:
        config = SimulationConfig.model_validate(raw)
    except ValidationError as error:
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise SettingsError(f"{source}: {_explain(first)}") from error
    for key, value, allowed in _contradictions(config):
        raise SettingsError(f"{source}: {key} = {_shown(value)}: {allowed}")
    return config


def describe_config() -> list[tuple[str, str, str]]:
    """Every key as (dotted key, default, meaning with unit), in the order of the models."""
    return list(_describe(SimulationConfig, ""))


def _describe(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        if field.is_required():
            default = "required"
        elif isinstance(field.default, BaseModel):
            default = ""
        else:
            default = json.dumps(field.default, default=str)
        yield prefix + name, default, field.description or ""
        for inner, is_list in _inner_models(field.annotation):
            yield from _describe(inner, f"{prefix}{name}{'[]' if is_list else ''}.")


def _inner_models(annotation: Any, is_list: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, is_list
    elif get_origin(annotation) in (Union, types.UnionType, list):
        for part in get_args(annotation):
            yield from _inner_models(part, is_list or get_origin(annotation) is list)


def _contradictions(config: SimulationConfig) -> Iterator[tuple[str, object, str]]:
    """(key path, value, what is allowed) of every pair of keys that cannot both hold."""
    if config.registry is not None:
        for name in ("pole_id", "num_meters", "fleet"):
            if getattr(config, name) is not None:
                yield name, _given(config, name), "not together with registry; keep one"
        yield from _registry_contradictions(config)
    if config.fleet is not None:
        if config.pole_id is not None:
            yield "pole_id", config.pole_id, "not together with fleet; keep one of the two"
        if config.num_meters is not None:
            yield (
                "num_meters",
                config.num_meters,
                "not together with fleet; set fleet.meters_per_pole",
            )
        if config.fleet.feeders > config.fleet.poles:
            yield (
                "fleet.feeders",
                config.fleet.feeders,
                f"at most fleet.poles ({config.fleet.poles})",
            )
        if config.fleet.poles * config.fleet.meters_per_pole > MAX_METERS:
            yield (
                "fleet.meters_per_pole",
                config.fleet.meters_per_pole,
                f"at most {MAX_METERS} meters in all, not {config.fleet.poles} poles of these",
            )
        if config.fleet.transformers_per_pole > config.fleet.meters_per_pole:
            yield (
                "fleet.transformers_per_pole",
                config.fleet.transformers_per_pole,
                f"at most fleet.meters_per_pole ({config.fleet.meters_per_pole})",
            )
    if config.publish_mode == "single" and config.payload != "json":
        yield "payload", config.payload, "json when publish_mode is single"
    faults = ("drop_prob", "reorder_prob", "duplicate_prob", "bad_payload_prob")
    total = sum(getattr(config, name) for name in faults)
    if total > 1:
        largest = max(faults, key=lambda name: getattr(config, name))
        yield (
            largest,
            getattr(config, largest),
            f"{' + '.join(faults)} at most 1, not {total:g}",
        )
    shares = sum(config.sag_scope_shares.values())
    if abs(shares - 1) > 1e-6:
        yield (
            "sag_scope_shares",
            config.sag_scope_shares,
            f"shares that add up to 1, not {shares:g}",
        )
    kinds = ("voltage_sag_prob", "voltage_swell_prob", "interruption_prob")
    total = sum(getattr(config, name) for name in kinds)
    if total > 1:
        largest = max(kinds, key=lambda name: getattr(config, name))
        yield largest, getattr(config, largest), f"{' + '.join(kinds)} at most 1, not {total:g}"
    if config.force_sag_every_s is not None:
        least = forced_slot_minimum_s(config.sample_interval_ms)
        if config.force_sag_every_s < least:
            yield (
                "force_sag_every_s",
                config.force_sag_every_s,
                f"at least {least:g} s at this sample_hz",
            )
    offset = max(abs(bound) for bound in config.clock_offset_ms_range)
    if offset > config.sample_interval_ms / 2:
        yield (
            "clock_offset_ms_range",
            list(config.clock_offset_ms_range),
            f"within half a sample interval (± {config.sample_interval_ms / 2:g} ms)",
        )
    for bound in config.clock_drift_ppm_range:
        if abs(bound) > 500:
            yield "clock_drift_ppm_range", list(config.clock_drift_ppm_range), "within ± 500 ppm"
    if config.load_profile.pv_kwp_range[1] > 1000:
        yield "load_profile.pv_kwp_range", list(config.load_profile.pv_kwp_range), "at most 1000 kW"
    if config.load_profile.spike_kw_range[1] > 1000:
        yield (
            "load_profile.spike_kw_range",
            list(config.load_profile.spike_kw_range),
            "at most 1000 kW",
        )
    if config.jitter_ms_range[1] > 60_000:
        yield "jitter_ms_range", list(config.jitter_ms_range), "at most 60000 ms"
    yield from _unknown_subjects(config)
    yield from _doubled(config)


def _given(config: SimulationConfig, name: str) -> object:
    """Value of a key as a file would hold it."""
    return config.model_dump(mode="json", exclude_unset=True).get(name)


def _registry_contradictions(config: SimulationConfig) -> Iterator[tuple[str, object, str]]:
    from simulator.fleet import registered_meters

    try:
        rows = registered_meters(config)
    except AmiError as error:
        yield "registry", config.registry, f"a registry of meters: {error}"
        return
    except OSError as error:
        yield "registry", config.registry, f"a readable file: {error.strerror}"
        return
    if not 1 <= len(rows) <= MAX_METERS:
        yield (
            "registry",
            config.registry,
            f"a file with 1 to {MAX_METERS} meters in service, not {len(rows)}",
        )
    for row in rows:
        for name in ("meter_id", "pole_id", "feeder_id", "transformer_id"):
            if row[name] is not None and not re.fullmatch(IDENTIFIER_PATTERN, row[name]):
                yield "registry", config.registry, f"{name} {row[name]!r} is no identifier"
        for key, mine, theirs in (
            ("voltage_nominal", config.voltage_nominal, row["nominal_voltage_v"]),
            ("sample_hz", config.sample_interval_ms, row["sample_interval_ms"]),
            ("time_zone", config.time_zone, row["time_zone"]),
        ):
            if theirs not in (None, mine):
                unit = " ms between samples" if key == "sample_hz" else ""
                shown = config.sample_hz if key == "sample_hz" else mine
                yield (
                    key,
                    shown,
                    f"as the registry says of {row['meter_id']}: {theirs:g}{unit}"
                    if isinstance(theirs, int | float)
                    else f"as the registry says of {row['meter_id']}: {theirs}",
                )


def forced_slot_minimum_s(sample_interval_ms: int) -> float:
    """Shortest `force_sag_every_s` that surely holds a whole sag (s)."""
    return 4 * max(10_000, sample_interval_ms) / 1000


def _unknown_subjects(config: SimulationConfig) -> Iterator[tuple[str, object, str]]:
    from simulator.fleet import build_fleet

    if not (config.outages or config.replacements or config.silences):
        return
    fleet = build_fleet(config)
    meters = {meter.meter_id for pole in fleet.poles for meter in pole.meters}
    subjects = meters | {p.pole_id for p in fleet.poles} | {p.feeder_id for p in fleet.poles}
    for index, outage in enumerate(config.outages):
        if outage.subject not in subjects:
            example = ", ".join(sorted(subjects - meters)[:3])
            key = f"outages[{index}].subject"
            yield key, outage.subject, f"a feeder, pole or meter of the fleet, such as {example}"
    for name in ("replacements", "silences"):
        for index, entry in enumerate(getattr(config, name)):
            if entry.meter_id not in meters:
                key = f"{name}[{index}].meter_id"
                yield key, entry.meter_id, f"a meter of the fleet, such as {min(meters)}"
    for index, replacement in enumerate(config.replacements):
        if replacement.at < config.seq_origin:
            yield f"replacements[{index}].at", replacement.at, "not before seq_origin"
    for index, outage in enumerate(config.outages):
        if outage.start < config.seq_origin:
            yield f"outages[{index}].start", outage.start, "not before seq_origin"


def _doubled(config: SimulationConfig) -> Iterator[tuple[str, object, str]]:
    seen: set[str] = set()
    for index, event in enumerate(config.dr_events):
        if event.event_id in seen:
            yield f"dr_events[{index}].event_id", event.event_id, "a name not used before"
        seen.add(event.event_id)


_OVERRIDE_ALIASES: Final = {
    "poles": ("fleet.poles", None),
    "meters": ("fleet.meters_per_pole", "num_meters"),
}


def _override(raw: dict[str, Any], key: str, value: object, path: Path) -> None:
    if key in _OVERRIDE_ALIASES:
        fleet_key, single_key = _OVERRIDE_ALIASES[key]
        target = fleet_key if raw.get("fleet") is not None else single_key
        if raw.get("registry") is not None:
            raise SettingsError(
                f"{path}: {key} = {_shown(value)}: not with a registry, which names every meter"
            )
        if target is None:
            raise SettingsError(
                f"{path}: {key} = {_shown(value)}: only with a fleet; this file has a single pole"
            )
        key = target
    *parents, last = key.split(".")
    place = raw
    for parent in parents:
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{path}: {key} = {_shown(value)}: {parent} holds no keys here")
        place = inner
    place[last] = value


def _key_path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."


def _explain(error: Any) -> str:
    location, value = error["loc"], error["input"]
    key = _key_path(location)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys_beside(location)
        near = difflib.get_close_matches(str(location[-1]), known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
        return f"{key} = {_shown(value)}: unknown key; {hint}"
    if kind == "missing":
        return f"{key} = nothing: this key is required"
    if kind == "value_error":
        return f"{key} = {_shown(value)}: {context['error']}"
    if kind in ("literal_error", "enum"):
        return f"{key} = {_shown(value)}: one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"{key} = {_shown(value)}: text that matches {context['pattern']}"
    message = str(error["msg"])
    for before, after in (
        ("Input should be a valid", "a valid"),
        ("Input should be", "must be"),
    ):
        message = message.replace(before, after)
    return f"{key} = {_shown(value)}: {message}".replace("\n", " ")


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = SimulationConfig
    for part in location[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            inner = next(_inner_models(model.model_fields[part].annotation), None)
            model = inner[0] if inner else model
    return list(model.model_fields)


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).splitlines()[0]
