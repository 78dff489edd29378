"""The OpenAPI document: reads the application, gives it with problems and ways to authenticate.

`python -m ami_api.render` writes it to `docs/openapi.json`.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ami_api.guard import OPEN_PATHS
from ami_api.models import Problem

DESCRIPTION: Final = """
Voltage, power, health and demand response of smart meters and the poles they hang on, as of the
last build of the warehouse.

- Times are RFC 3339 with offset in requests and UTC in answers. Windows hold their start and not
  their end.
- A quantity that is not known is null, never 0. Names end in their unit: `_v`, `_kw`, `_kwh`,
  `_s`, `_pct`, `_pu` (of nominal voltage).
- `Accept: text/csv` gives the rows of an answer as CSV.
- Answers carry an ETag that holds until the next build.
- What goes wrong is told as `application/problem+json` (RFC 9457).
"""
_SECURITY: Final = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "A key of AMI_API_KEYS; Authorization: Bearer takes it too. A service on "
        "loopback without keys wants none.",
    },
    "GoogleIdentity": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An identity token that Google signed for AMI_API_GOOGLE_AUDIENCE.",
    },
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document; made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=_version(),
            summary="From one-second meter readings to sags, sheds and pole health.",
            description=DESCRIPTION.strip(),
            routes=app.routes,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        components = made["components"]
        components["securitySchemes"] = _SECURITY
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"] |= problem.pop("$defs", {}) | {"Problem": problem}
        # FastAPI's own description of a refused request, which is answered as a problem here.
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        for path, operations in made["paths"].items():
            for operation in operations.values():
                operation["security"] = (
                    [] if path in OPEN_PATHS else [{"ApiKey": []}, {"GoogleIdentity": []}]
                )
        app.openapi_schema = made
    return app.openapi_schema


def _version() -> str:
    try:
        return version("ami-analytics")
    except PackageNotFoundError:
        return "0"
