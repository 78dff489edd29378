"""Meters and poles as the registry has them, with what was seen of them."""

from datetime import timedelta

from .conftest import Built, assert_same_rows
from .reference import us
from .reference_quality import zone_of


def test_every_meter_of_the_registry_or_the_readings_is_listed_once(built: Built) -> None:
    registered = {r["meter_id"]: r for r in built.registry}
    seen: dict[str, list] = {}
    for row in built.stored:
        seen.setdefault(row["meter_id"], []).append(row)
    expected = {}
    for meter_id in registered.keys() | seen.keys():
        service = built.reference.service[meter_id]
        row, rows = registered.get(meter_id), seen.get(meter_id, [])
        expected[meter_id] = {
            "pole_id": service.pole_id,
            "reported_pole_id": service.pole_id if rows else None,
            "feeder_id": service.feeder_id,
            "transformer_id": service.transformer_id,
            "nominal_voltage_v": service.nominal_voltage_v,
            "sample_interval_ms": built.reference.interval_us[meter_id] // 1000,
            "rated_kva": service.rated_kva,
            "time_zone": zone_of(built.reference, built.registry, meter_id),
            "is_registered": row is not None,
            "valid_from": row and row["valid_from"],
            "valid_to": row and row["valid_to"],
            "first_seen_ts": min((r["event_ts"] for r in rows), default=None),
            "last_seen_ts": max((r["event_ts"] for r in rows), default=None),
        }
    actual = {r["meter_id"]: r for r in built.rows("select * from dim_meter")}

    assert_same_rows(actual, expected, set())
    assert not actual["m1-unknown"]["is_registered"]
    assert actual["m1-unknown"]["time_zone"] == "America/New_York", "of its pole"


def test_every_pole_is_listed_with_its_meters(built: Built) -> None:
    actual = {r["pole_id"]: r for r in built.rows("select * from dim_pole")}

    assert sorted(actual) == sorted({s.pole_id for s in built.reference.service.values()})
    for pole_id, pole in actual.items():
        on_pole = [s for s in built.reference.service.values() if s.pole_id == pole_id]
        assert pole["meters_registered"] == sum(s.is_registered for s in on_pole)
        assert pole["meters_unregistered"] == sum(not s.is_registered for s in on_pole)
        assert pole["feeder_id"] == "f-" + pole_id[:-1]
        assert (pole["transformers"], pole["rated_kva"]) == (1, 12.0)
    assert actual["pole1B"]["meters_unregistered"] == 1
    assert actual["pole1D"]["first_seen_ts"] is None
    assert actual["pole1C"]["time_zone"] == "UTC", "the default"
    newest = max(us(p["last_seen_ts"]) for p in actual.values() if p["last_seen_ts"])
    assert timedelta(microseconds=newest - built.reference.watermark_us) == timedelta(0)
