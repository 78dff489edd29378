"""The readings as the marts see them: no copies, epochs numbered, attributes of their time."""

from .conftest import Built


def test_every_reading_is_there_once_with_its_epoch(built: Built) -> None:
    expected = {
        (r["meter_id"], r["epoch"], r["seq"], r["event_ts"], r["voltage_v"], r["received"])
        for rows in built.reference.by_meter.values()
        for r in rows
    }
    actual = built.con.execute(
        "select meter_id, epoch, seq, event_ts, voltage_v, is_received from readings"
    ).fetchall()

    assert len(actual) == len(expected)
    assert set(actual) == expected


def test_the_fleet_holds_what_the_comparison_is_to_prove(built: Built) -> None:
    counts = built.rows(
        """
        select
            max(epoch) as epochs,
            count(*) filter (is_late) as late,
            count(*) filter (copies > 1) as copied,
            count(*) filter (conflicting_copies > 0) as conflicting,
            count(*) filter (not is_received) as estimated
        from readings
        """
    )[0]

    assert counts["epochs"] == 1
    assert min(counts.values()) > 0
    assert built.con.execute("select count(*) from int_seq_conflicts").fetchone()[0] > 0


def test_a_reading_is_late_beyond_120_seconds(built: Built) -> None:
    wrong = built.con.execute(
        """
        select count(*) from readings
        where is_late != (epoch_us(ingest_ts) - epoch_us(event_ts) > 120000000)
        """
    ).fetchone()

    assert wrong == (0,)


def test_interval_and_nominal_voltage_come_from_registry_or_readings(built: Built) -> None:
    actual = dict(
        built.con.execute(
            "select distinct meter_id, (sample_interval_s, nominal_voltage_v) from readings"
        ).fetchall()
    )

    assert actual["m1-230"] == (1.0, 230.0)
    assert actual["m1-120"] == (2.0, 120.0)
    assert actual["m1-quarter"] == (900.0, 240.0)
    assert actual["m1-repeats"] == (1.0, 240.0), "interval from the readings"
    assert actual["m1-unknown"] == (5.0, 240.0), "not in the registry"
