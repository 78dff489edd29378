"""Writes the OpenAPI document: reads the application, gives `docs/openapi.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from ami_api.app import create_app
from ami_api.identity import Doorkeeper
from ami_contract.settings import Settings
from ami_store.serving import DuckDbServing

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = Path("docs/openapi.json")


def openapi_json() -> str:
    """The document as text; it does not depend on settings or data."""
    settings = Settings.model_construct()
    door = Doorkeeper((), "", (), lambda *_: None)
    app = create_app(settings, DuckDbServing(settings.data), door=door)
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the document below the project's root."""
    (ROOT / DOCUMENT).write_text(openapi_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
