"""A configuration is taken as it stands or refused in one line that names file, key and remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ami_cli import main, simulation
from ami_contract.errors import SettingsError
from ami_contract.registry import REGISTRY_SCHEMA
from simulator.config import describe_config, load_config, parse_config
from simulator.fleet import build_fleet, registry_table
from simulator.render import PAGE, rendered

CONFIGS = Path(__file__).parents[2] / "simulator" / "configs"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sim.yaml"
    path.write_text(text, encoding="utf-8")
    return path


BAD_CONFIGS = [
    ("sample_hertz: 1", "sample_hertz = 1: unknown key; did you mean sample_hz?"),
    ("fleet: {pole: 3}", "fleet.pole = 3: unknown key; did you mean poles?"),
    ("load_profile: {zzz: 3}", "load_profile.zzz = 3: unknown key; known keys: base_kw"),
    ("seed: 1.5", "seed = 1.5: a whole number"),
    ("seed: -1", "seed = -1: must be greater than or equal to 0"),
    ("seed: true", "seed = True: a whole number"),
    ("sample_hz: 0", "sample_hz = 0: between 1/900 and 50 Hz"),
    ("sample_hz: 1/1000", "sample_hz = '1/1000': between 1/900 and 50 Hz"),
    ("sample_hz: 7", "sample_hz = 7: a rate whose sample interval is a whole number of"),
    ("sample_hz: fast", "sample_hz = 'fast': a number of Hz or a fraction such as 1/900"),
    ("publish_mode: stream", "publish_mode = 'stream': one of 'single' or 'batch'"),
    ("payload: xml", "payload = 'xml': one of 'json', 'ndjson' or 'arrow'"),
    ("publish_mode: single\npayload: arrow", "payload = 'arrow': json when publish_mode is single"),
    ("network_profile: 6g", "network_profile[0] = '6g': one of 'wired', '5g', 'lte_m' or 'sat'"),
    ("network_profile: []", "network_profile = []: "),
    ("drop_prob: 1.5", "drop_prob = 1.5: must be less than or equal to 1"),
    ('drop_prob: "0.1"', "drop_prob = '0.1': a number"),
    ("drop_prob: .nan", "drop_prob = nan: must be a finite number"),
    ("drop_prob: 0.7\nreorder_prob: 0.6", "drop_prob = 0.7: drop_prob + reorder_prob + dup"),
    ("jitter_ms_range: [9, 2]", "jitter_ms_range = [9, 2]: [lower, upper] with lower ≤ upper"),
    ("jitter_ms_range: 5", "jitter_ms_range = 5: two numbers: [lower, upper]"),
    ("voltage_nominal: 110", "voltage_nominal = 110: one of 120, 230 or 240"),
    ("voltage_sag_depth: [0.01, 0.5]", "voltage_sag_depth[0] = 0.01: must be greater than or"),
    ("sag_scope_shares: {meter: 0.5}", "sag_scope_shares = {'meter': 0.5}: shares that add up to"),
    ("force_sag_every_s: 10", "force_sag_every_s = 10.0: at least 40 s at this sample_hz"),
    (
        "sample_hz: 1/900\nforce_sag_every_s: 1800",
        "force_sag_every_s = 1800.0: at least 3600 s at this sample_hz",
    ),
    ("pole_id: p1\nfleet: {poles: 2}", "pole_id = 'p1': not together with fleet"),
    ("num_meters: 3\nfleet: {poles: 2}", "num_meters = 3: not together with fleet"),
    ("fleet: {poles: 1, feeders: 2}", "fleet.feeders = 2: at most fleet.poles (1)"),
    ("pole_id: a b", "pole_id = 'a b': text that matches"),
    ("time_zone: Mars/Olympus", "time_zone = 'Mars/Olympus': an IANA time zone such as"),
    ("seq_origin: 2026-01-01T00:00:00", "seq_origin = 2026-01-01T00:00:00: a time with a zone"),
    ("load_profile: {weekday: [1, 2]}", "load_profile.weekday = [1, 2]: "),
    (
        "outages: [{subject: nowhere, start: 2026-02-01T00:00:00Z, duration_s: 60}]",
        "outages[0].subject = 'nowhere': a feeder, pole or meter of the fleet",
    ),
    ("silences: [{meter_id: m}]", "silences[0].start = nothing: this key is required"),
    ("registry: absent.csv", "registry = '"),
    ("registry: r.csv\npole_id: p", "pole_id = 'p': not together with registry; keep one"),
    ("spool_max_s: 0", "spool_max_s = 0: must be greater than 0"),
    ("load_profile: {ev_share: 2}", "load_profile.ev_share = 2: must be less than or equal to 1"),
    ("dr_events: [{event_id: a b, start: 2026-02-01T00:00:00Z, duration_s: 9}]", "dr_events[0]."),
    ("seed: 1\nseed: 2", "is not YAML: line 2: key 'seed' is given twice"),
    ("seed: [1", "is not YAML: line"),
    ("- seed", "holds ['seed']: a mapping of keys is expected"),
]


@pytest.mark.parametrize(("text", "expected"), BAD_CONFIGS)
def test_bad_config_is_refused_in_one_line_with_key_value_and_remedy(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {expected}")
    assert "\n" not in message


@pytest.mark.parametrize(("text", "expected"), BAD_CONFIGS)
def test_the_command_refuses_it_with_status_2_before_anything_is_published(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    text: str,
    expected: str,
) -> None:
    path = write(tmp_path, text)
    monkeypatch.setenv("AMI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "argv", ["ami", "simulate", "--config", str(path)])
    monkeypatch.setattr(simulation, "PubSubPublisher", None)
    with pytest.raises(SystemExit) as ended:
        main.main()
    said = capfd.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"ami: {path}: {expected}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nope\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "nope.yaml")


def test_overrides_win_and_are_checked_like_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nfleet: {poles: 2}")
    config = load_config(path, {"seed": 5, "poles": 3, "meters": 4, "load_profile.base_kw": 2})
    assert (config.seed, config.load_profile.base_kw) == (5, 2.0)
    assert [len(p.meters) for p in build_fleet(config).poles] == [4, 4, 4]
    with pytest.raises(SettingsError, match="seed = 'x': a whole number"):
        load_config(path, {"seed": "x"})


def test_meters_of_a_single_pole_can_be_overridden_but_not_its_poles(tmp_path: Path) -> None:
    path = write(tmp_path, "pole_id: p1\nnum_meters: 2")
    assert build_fleet(load_config(path, {"meters": 7})).meter_count == 7
    with pytest.raises(SettingsError, match="poles = 2: only with a fleet"):
        load_config(path, {"poles": 2})


def test_sample_rate_of_a_fraction_is_exact() -> None:
    assert parse_config({"sample_hz": "1/900"}).sample_interval_ms == 900_000
    assert parse_config({"sample_hz": 1 / 900}).sample_interval_ms == 900_000
    assert parse_config({"sample_hz": 50}).sample_interval_ms == 20


def test_every_key_is_described() -> None:
    rows = describe_config()
    assert all(meaning for _, _, meaning in rows)
    keys = {key for key, _, _ in rows}
    assert {"seed", "fleet.poles", "load_profile.pv_share", "dr_events[].shed_share"} <= keys


@pytest.mark.parametrize(
    ("name", "poles", "meters"), [("demo", 4, 20), ("smoke", 1, 2), ("fleet_1000", 100, 1000)]
)
def test_shipped_config_loads(name: str, poles: int, meters: int) -> None:
    fleet = build_fleet(load_config(CONFIGS / f"{name}.yaml"))
    assert (len(fleet.poles), fleet.meter_count) == (poles, meters)


def test_registry_lists_every_meter_once_under_its_pole_and_feeder() -> None:
    config = parse_config({"fleet": {"feeders": 2, "poles": 4, "meters_per_pole": 5}})
    table = registry_table(config)
    assert table.schema == REGISTRY_SCHEMA
    rows = table.to_pylist()
    assert len({row["meter_id"] for row in rows}) == 20
    feeders = {row["pole_id"]: row["feeder_id"] for row in rows}
    assert list(feeders.values()) == ["feeder-01", "feeder-01", "feeder-02", "feeder-02"]
    assert {row["sample_interval_ms"] for row in rows} == {1000}
    assert {row["rated_kva"] for row in rows} == {25.0}  # 5 households at 4 kVA


REGISTRY = """\
meter_id,pole_id,transformer_id,feeder_id,nominal_voltage_v,sample_interval_ms,rated_kva,\
latitude,longitude,time_zone,valid_from,valid_to
m-1,P-7,T-1,F-2,230,1000,50,48.1,11.5,Europe/Berlin,2025-01-01T00:00:00Z,
m-2,P-7,T-2,F-2,230,,50,,,,2025-01-01T00:00:00Z,
m-3,P-9,,,230,,,,,,2025-01-01T00:00:00Z,
m-4,P-9,,,230,,,,,,2025-01-01T00:00:00Z,2025-06-01T00:00:00Z
"""


def with_registry(tmp_path: Path, more: str = "", registry: str = REGISTRY) -> Path:
    (tmp_path / "meters.csv").write_text(registry, encoding="utf-8")
    text = "registry: meters.csv\nvoltage_nominal: 230\ntime_zone: Europe/Berlin\n"
    return write(tmp_path, text + more)


def test_a_registry_file_is_the_fleet(tmp_path: Path) -> None:
    config = load_config(with_registry(tmp_path, "network_profile: [wired, sat]"))
    first, second = build_fleet(config).poles
    assert (first.feeder_id, first.pole_id, first.network_profile) == ("F-2", "P-7", "wired")
    assert [(m.meter_id, m.transformer_id) for m in first.meters] == [
        ("m-1", "T-1"),
        ("m-2", "T-2"),
    ]
    assert (first.rated_kva, first.transformers, first.latitude) == (50, 2, 48.1)
    # One household on a transformer of its own: 4 kVA, so the smallest size. m-4 is out of service.
    assert [m.meter_id for m in second.meters] == ["m-3"]
    assert (second.feeder_id, second.rated_kva) == ("feeder-01", 10)
    assert registry_table(config)["meter_id"].to_pylist() == ["m-1", "m-2", "m-3"]


def test_the_digest_follows_the_registry_and_not_its_place(tmp_path: Path) -> None:
    one = load_config(with_registry(tmp_path)).digest()
    (tmp_path / "b").mkdir()
    assert load_config(with_registry(tmp_path / "b")).digest() == one
    other = REGISTRY.replace("m-3", "m-5")
    assert load_config(with_registry(tmp_path / "b", registry=other)).digest() != one


@pytest.mark.parametrize(
    ("more", "registry", "expected"),
    [
        ("sample_hz: 2", REGISTRY, "sample_hz = 2.0: as the registry says of m-1: 1000 ms"),
        ("", REGISTRY.replace("m-2,P-7,T-2,F-2,230", "m-2,P-7,T-2,F-2,120"), "voltage_nominal = 2"),
        ("", REGISTRY.replace("Europe/Berlin", "UTC"), "time_zone = 'Europe/Berlin': as the regis"),
        ("", REGISTRY.replace("P-7", "P 7"), "registry = '"),
        ("", REGISTRY.splitlines()[0] + "\n", "registry = '"),
        ("", "meter,pole\n", "registry = '"),
        ("fleet: {poles: 2}", REGISTRY, "fleet = {'poles': 2}: not together with registry"),
    ],
)
def test_a_registry_that_contradicts_the_config_is_refused(
    tmp_path: Path, more: str, registry: str, expected: str
) -> None:
    path = with_registry(tmp_path, more, registry)
    with pytest.raises(SettingsError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {expected}")
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="poles = 2: not with a registry"):
        load_config(path, {"poles": 2})


def test_the_page_lists_every_key_as_the_code_has_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert rendered(text) == text, "run `make render`"
    assert "| `voltage_sag_prob` | `0.01` |" in text
