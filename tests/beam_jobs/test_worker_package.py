"""What a Dataflow worker gets: the worker's wheel, its declared dependencies, nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from packaging.requirements import Requirement

from beam_jobs.options import parse, stream_config
from beam_jobs.streaming import build

ROOT = Path(__file__).resolve().parent.parent.parent
WORKER = ROOT / "infra" / "worker"
UNPICKLE = """
import sys
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.worker import bundle_processor
from apache_beam.transforms import ptransform
from apache_beam.internal import pickler
import apache_beam as beam

pipeline = beam_runner_api_pb2.Pipeline.FromString(open(sys.argv[1], "rb").read())
dofns = 0
for transform in pipeline.components.transforms.values():
    if transform.spec.urn == "beam:transform:pardo:v1":
        payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
        pickler.loads(payload.do_fn.payload)
        dofns += 1
ours = sorted({name.split(".")[0] for name in sys.modules} & {"ami_contract", "ami_store",
    "beam_jobs", "ami_dagster", "dagster", "dbt", "pydantic_settings"})
places = {sys.modules[name].__file__ for name in ("beam_jobs", "ami_contract")}
print(dofns, ",".join(ours), *sorted(places))
"""


def closure(requirements: list[str]) -> set[str]:
    """Distributions that installing `requirements` brings, as this environment has them."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        for extra in wanted.extras or {""}:
            key = (re.sub(r"[-_.]+", "-", wanted.name).lower(), extra)
            if key in found:
                continue
            found.add(key)
            if extra:
                found.add((key[0], ""))
            for text in metadata.requires(wanted.name) or []:
                needed = Requirement(text)
                if not needed.marker or any(
                    needed.marker.evaluate({"extra": e}) for e in {"", extra}
                ):
                    try:
                        metadata.distribution(needed.name)
                    except metadata.PackageNotFoundError:
                        continue  # an optional part that this platform lacks
                    waiting.append(needed)
    return {name for name, _ in found}


def link_distributions(names: set[str], folder: Path) -> None:
    """A site-packages folder that holds links to these distributions' files and no others."""
    for name in names:
        distribution = metadata.distribution(name)
        for top in {path.parts[0] for path in distribution.files or [] if path.parts[0] != ".."}:
            source, target = Path(str(distribution.locate_file(top))), folder / top
            if target.exists() or not source.exists() or top == "__pycache__":
                continue
            if top == "google":
                continue
            target.symlink_to(source)


def link_google(names: set[str], folder: Path) -> None:
    """Google's distributions share the folder `google`, so that is linked file by file."""
    for name in names:
        distribution = metadata.distribution(name)
        for path in distribution.files or []:
            if path.parts[0] != "google" or path.suffix == ".pyc":
                continue
            target = folder / Path(*path.parts)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(Path(str(distribution.locate_file(path))))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    command = [uv, "build", "--wheel", str(WORKER), "--out-dir", str(folder)]
    offline = subprocess.run([*command, "--offline"], capture_output=True, text=True)
    if offline.returncode:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    (found,) = folder.glob("ami_ingest_worker-*.whl")
    return found


@pytest.fixture(scope="module")
def site_packages(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip would install for the wheel, out of this environment's own files."""
    folder = tmp_path_factory.mktemp("worker") / "site-packages"
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (installed,) = metadata.distributions(path=[str(folder)])
    names = closure(installed.requires or [])
    link_google(names, folder)
    link_distributions(names, folder)
    return folder


def in_worker(site_packages: Path, code: str, *arguments: str) -> str:
    """Output of a fresh interpreter that sees the standard library and `site_packages`."""
    starter = f"import sys; sys.path.append({str(site_packages)!r}); exec({code!r})"
    # The interpreter below the environment's link knows nothing of the environment.
    result = subprocess.run(
        [os.path.realpath(sys.executable), "-I", "-S", "-c", starter, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=site_packages,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout.strip().splitlines()[-1]


def job(write_method: str, *options: str) -> bytes:
    """The pipeline of a job, as Dataflow gets it."""
    parsed = parse(
        [
            "--runner=DataflowRunner",
            "--project=my-project",
            "--region=us-central1",
            "--temp_location=gs://bucket/tmp",
            "--input_subscription=projects/my-project/subscriptions/sub",
            "--output_bq_table=my-project:grid.raw_meter_readings",
            "--raw_archive_bucket=my-archive",
            "--window_seconds=60",
            f"--bq_write_method={write_method}",
            *options,
        ]
    )
    pipeline = beam.Pipeline(
        options=PipelineOptions(
            ["--streaming", "--project=my-project", "--temp_location=gs://bucket/tmp"]
        )
    )
    build(pipeline, stream_config(parsed))
    return pipeline.to_runner_api().SerializeToString()


def test_the_wheel_holds_the_ingest_and_no_orchestration(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packages = {name.split("/")[0] for name in archive.namelist()}

    assert {name for name in packages if not name.endswith(".dist-info")} == {
        "ami_contract",
        "ami_store",
        "beam_jobs",
    }


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("streaming_inserts", ["--dlq_topic=projects/my-project/topics/dlq"]),
        ("file_loads", ["--group_max_wait_s=2"]),
    ],
)
def test_every_step_of_the_job_can_be_unpickled_where_only_the_wheel_is_installed(
    site_packages: Path, tmp_path: Path, method: str, options: list[str]
) -> None:
    proto = tmp_path / "pipeline.pb"
    proto.write_bytes(job(method, *options))
    count, modules, *places = in_worker(site_packages, UNPICKLE, str(proto)).split(" ")

    assert int(count) > 15
    assert modules == "ami_contract,ami_store,beam_jobs"
    assert all(place.startswith(str(site_packages)) for place in places)


@pytest.mark.parametrize("absent", ["dagster", "dbt", "pandas_stubs", "beam_jobs_absent"])
def test_what_workers_must_not_need_is_not_there(site_packages: Path, absent: str) -> None:
    code = f"import importlib.util; print(importlib.util.find_spec({absent!r}))"

    assert in_worker(site_packages, code) == "None"


def test_the_worker_s_dependencies_are_the_project_s() -> None:
    def dependencies(path: Path) -> set[str]:
        return set(tomllib.loads(path.read_text())["project"]["dependencies"])

    assert dependencies(WORKER / "pyproject.toml") <= dependencies(ROOT / "pyproject.toml")
