"""`python -m benchmarks`: reads options, checks files, exit status and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.__main__ import main
from benchmarks.definition import Benchmark, Context, Measurements, Metric, at_least


def figure(name: str, value: float | None, *, measurable: bool = True) -> Benchmark:
    """A benchmark that gives `value`, or breaks when that is None."""

    def measure(context: Context) -> Measurements:
        if value is None:
            raise RuntimeError("broken")
        while True:
            yield {name: value}

    metric = Metric(name, "readings/s", at_least(5), f"{name} described.")
    return Benchmark((metric,), 2, measure if measurable else None)


SUITE = [figure("a.one", 7.0), figure("b.two", 3.0), figure("c.later", 1.0, measurable=False)]


def call(tmp_path: Path, *options: str, suite: list[Benchmark] | None = None) -> int:
    own = ["--output", str(tmp_path / "results.json"), "--work", str(tmp_path / "work")]
    return main([*own, *options], suite or SUITE)


def read(tmp_path: Path) -> dict[str, dict[str, object]]:
    document: dict[str, dict[str, object]] = json.loads((tmp_path / "results.json").read_text())
    return document


def test_everything_measurable_is_measured_and_written_with_its_surroundings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    assert call(tmp_path, "--page", str(page)) == 0
    document = read(tmp_path)
    assert set(document["results"]) == {"a.one", "b.two"}
    assert set(document["not_measured"]) == {"c.later"}
    assert set(document["machine"]) == {"cpu", "cores", "memory_gib", "os", "filesystem"}
    assert {"python", "pyarrow", "duckdb", "apache-beam", "dagster", "dbt-core"} <= set(
        document["versions"]
    )
    assert "not installed" not in document["versions"].values()
    assert "| `a.one` | 7 |" in page.read_text()
    printed = capsys.readouterr()
    assert printed.out.splitlines()[2].split() == [
        "b.two", "3", "3", "–", "3", "(2", "runs)", "readings/s", "≥", "5", "no",
    ]  # fmt: skip
    assert "a.one: run 2/2" in printed.err


def test_a_broken_benchmark_fails_the_command_and_loses_no_other(tmp_path: Path) -> None:
    suite = [figure("a.one", None), figure("b.two", 3.0)]
    assert call(tmp_path, suite=suite) == 1
    document = read(tmp_path)
    assert document["failures"] == {"a.one": "RuntimeError: broken"}
    assert set(document["results"]) == {"b.two"}


def test_only_measures_what_matches_and_keeps_the_rest(tmp_path: Path) -> None:
    call(tmp_path)
    changed = [figure("a.one", 70.0), figure("b.two", 30.0)]
    assert call(tmp_path, "--only", "b.*", "--runs", "3", suite=changed) == 0
    results = read(tmp_path)["results"]
    assert {name: (r["value"], r["runs"]) for name, r in results.items()} == {  # type: ignore[index]
        "a.one": (7, 2),
        "b.two": (30, 3),
    }


@pytest.mark.parametrize("glob", ["x.*", "c.later"])
def test_only_that_names_nothing_measurable_is_refused(
    tmp_path: Path, glob: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, "--only", glob) == 2
    assert f"--only {glob}: names nothing that can be measured" in capsys.readouterr().err
    assert not (tmp_path / "results.json").exists()


def test_figures_of_another_machine_are_never_mixed_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(tmp_path)
    path = tmp_path / "results.json"
    path.write_text(path.read_text().replace('"cpu": "', '"cpu": "another '))
    assert call(tmp_path, "--only", "a.*") == 2
    assert "another machine" in capsys.readouterr().err
    suite = [figure("a.one", 8.0), figure("b.two", None)]
    assert call(tmp_path, suite=suite) == 1
    assert set(read(tmp_path)["results"]) == {"a.one"}


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    def interrupted(context: Context) -> Measurements:
        raise KeyboardInterrupt
        yield {}

    metric = Metric("b.two", "s", at_least(1), "Interrupted.")
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path, suite=[figure("a.one", 7.0), Benchmark((metric,), 1, interrupted)])
    assert set(read(tmp_path)["results"]) == {"a.one"}


def test_render_writes_the_page_and_measures_nothing(tmp_path: Path) -> None:
    call(tmp_path)
    page = tmp_path / "page.md"
    broken = [figure("a.one", None), figure("b.two", None)]
    assert call(tmp_path, "--render", "--page", str(page), suite=broken) == 0
    assert "| `b.two` | 3 |" in page.read_text()


def test_list_names_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["a.one", "b.two", "c.later"]
    assert lines[0].endswith("2 runs")
    assert lines[2].endswith("not measured yet")


def test_a_quick_run_of_the_real_suite_writes_a_marked_figure(tmp_path: Path) -> None:
    own = ["--output", str(tmp_path / "results.json"), "--work", str(tmp_path)]
    assert main([*own, "--quick", "--only", "generate.arrow.*"]) == 0
    result = read(tmp_path)["results"]["generate.arrow.readings_per_s"]
    assert isinstance(result, dict)
    assert result["quick"] is True
    assert result["runs"] == 1
    assert result["min"] == result["value"] == result["max"] > 1000
    assert result["unit"] == "readings/s"
    assert result["target"] == 1_000_000


def test_a_quick_run_without_output_only_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(command, "PAGE", tmp_path / "page.md")
    assert main(["--quick", "--work", str(tmp_path)], [figure("a.one", 7.0)]) == 0
    assert "a.one  7 (quick)" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
