"""The Dagster instance: reads settings and a template, gives a prepared DAGSTER_HOME.

A copy of the template is replaced when the template changes, unless somebody has edited it: beside
`dagster.yaml` lies the hash of what was copied.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import yaml

from ami_contract.settings import Settings
from ami_store.files import check_folders, write_bytes

ROOT: Final = Path(__file__).resolve().parent.parent
LOCAL_TEMPLATE: Final = ROOT / "dagster.yaml"
PRODUCTION_TEMPLATE: Final = ROOT / "infra" / "dagster" / "production.yaml"
# Templates of before there were hashes beside the copies.
_UNRECORDED: Final = frozenset(
    {
        "85019ef5e845b0e9d8fc992460c970cec58c9e85e5e7a314c0532d64045070a0",
        "9314f4ce240442d26335e9e4166dcfade65e0a410322eb5eba5611e7322396ae",
        "fdd4dab6cccbaa6f67cb95c8a066917e0079f69e03395bc423eda042bf53245e",
    }
)

CopyState = Literal["absent", "current", "outdated", "edited"]


def template_text(settings: Settings) -> str:
    """What `dagster.yaml` should say for these settings."""
    if not settings.dagster_postgres_url.get_secret_value():
        return LOCAL_TEMPLATE.read_text(encoding="utf-8")
    text = PRODUCTION_TEMPLATE.read_text(encoding="utf-8")
    if settings.dagster_log_bucket:
        return text
    config = yaml.safe_load(text)
    del config["compute_logs"]
    return f"# Made from {PRODUCTION_TEMPLATE.name}, without a bucket.\n{yaml.safe_dump(config)}"


def copy_state(settings: Settings) -> CopyState:
    """How the instance's `dagster.yaml` compares with the template.

    Returns:
        `outdated`: an untouched copy of another template; `edited`: somebody changed it.
    """
    copy = _copy(settings)
    if not copy.exists():
        return "absent"
    text = copy.read_bytes()
    if text == template_text(settings).encode():
        return "current"
    record = _record(settings)
    known = {record.read_text(encoding="utf-8").strip()} if record.exists() else _UNRECORDED
    return "outdated" if sha256(text).hexdigest() in known else "edited"


def prepare_instance(settings: Settings) -> Path:
    """Dagster's home below the data folder, with its config; also tells child processes.

    Raises:
        LakeError: the folder cannot be written, or is a file.
    """
    root = settings.data_dir
    check_folders([*reversed(root.parents), root, *settings.data.folders])
    home = settings.data.dagster_home
    text = template_text(settings).encode()
    if copy_state(settings) in ("absent", "outdated"):
        write_bytes(_copy(settings), text)
    # After the copy: a hash of what is not there yet would make the old copy look edited.
    if copy_state(settings) == "current":
        digest = sha256(text).hexdigest()
        record = _record(settings)
        if not record.exists() or record.read_text(encoding="utf-8").strip() != digest:
            write_bytes(record, digest.encode())
    os.environ.update(instance_environment(settings))
    return home


def instance_environment(settings: Settings) -> dict[str, str]:
    """Variables that make a process use this instance and these definitions."""
    return {
        "AMI_DATA_DIR": str(settings.data_dir),
        "AMI_DAGSTER_POSTGRES_URL": settings.dagster_postgres_url.get_secret_value(),
        "AMI_DAGSTER_LOG_BUCKET": settings.dagster_log_bucket,
        "DAGSTER_HOME": str(settings.data.dagster_home),
    }


def write_workspace(settings: Settings) -> Path:
    """The file that points UI and daemon to the one code server; returns its path."""
    path = settings.data.dagster_home / "workspace.yaml"
    server = {"host": "127.0.0.1", "port": settings.code_server_port, "location_name": "ami"}
    text = yaml.safe_dump({"load_from": [{"grpc_server": server}]}).encode()
    if not path.exists() or path.read_bytes() != text:
        write_bytes(path, text)
    return path


def _copy(settings: Settings) -> Path:
    return settings.data.dagster_home / "dagster.yaml"


def _record(settings: Settings) -> Path:
    return settings.data.dagster_home / ".template.sha256"
