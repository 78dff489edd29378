"""What the dbt project is made of: reads its folder, gives the files that a person edits.

Who parses the models, loads the definitions again or builds anew looks at these and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

DBT_FOLDERS: Final = ("models", "macros", "tests", "seeds")
"""Folders of a dbt project that hold its sources, as `dbt_project.yml` names them."""


def dbt_sources(project_dir: Path) -> Iterator[Path]:
    """Files of `DBT_FOLDERS` at any depth, and the project's own YAML files."""
    for folder in DBT_FOLDERS:
        yield from (path for path in (project_dir / folder).rglob("*") if path.is_file())
    yield from project_dir.glob("*.yml")
