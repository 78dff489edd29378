"""The page docs/analysis.md: its blocks run in their order, and say what the lake says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Shown
from .show_lake import ROOT

# The first of these tests makes the lake.
pytestmark = pytest.mark.timeout(900)
PAGE = ROOT / "docs" / "analysis.md"
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_block_of_the_page_runs(
    shown: Shown,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = tmp_path / "bin" / "ami"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ami_cli.main "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("AMI_DATA_DIR", str(shown.data.root))
    monkeypatch.chdir(tmp_path)
    blocks = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}

    for language, text in blocks:
        if language == "python":
            code = text.replace("http://127.0.0.1:8000", shown.url)
            exec(compile(code, str(PAGE), "exec"), names)
        else:
            for line in text.splitlines():
                subprocess.run(shlex.split(line), check=True, capture_output=True, timeout=120)

    assert len(blocks) >= 8
    assert names["lowest_v"] == names["deepest"]["min_voltage_v"] < 160
    assert names["five_minutes_v"] > 220
    assert names["sheds"]["caiso_10_of_10"]["shed_kwh"] > 30
    assert len(names["low"]) == names["sag"]["sample_count"]
    assert names["low"]["voltage_v"].min() == names["sag"]["min_voltage_v"]
    assert "V per kW" in capsys.readouterr().out
