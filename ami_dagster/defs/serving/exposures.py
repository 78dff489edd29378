"""Who uses the marts: reads the exposures of the dbt manifest, gives external assets.

They stand in `dbt_ami/models/exposures.yml`. One that Dagster makes itself is an asset anyway.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

GROUP = "serving"
_KINDS = {"application": "api", "dashboard": "dashboard", "analysis": "table"}


def exposures(
    manifest: Mapping[str, Any],
    made: Iterable[dg.AssetsDefinition] = (),
    read: Sequence[str] = ("published_warehouse",),
) -> list[dg.AssetSpec]:
    """Exposures below the marts they depend on.

    Args:
        manifest: dbt's.
        made: assets of the group that Dagster makes; exposures of their names are left out.
        read: further assets that all of them read.
    """
    names = {key.path[-1] for definition in made for key in definition.keys}
    return [
        _exposure(manifest, exposure, read)
        for exposure in manifest["exposures"].values()
        if exposure["name"] not in names
    ]


def _exposure(
    manifest: Mapping[str, Any], exposure: Mapping[str, Any], read: Sequence[str]
) -> dg.AssetSpec:
    models = sorted(manifest["nodes"][node]["name"] for node in exposure["depends_on"]["nodes"])
    return dg.AssetSpec(
        exposure["name"],
        deps=[*read, *models],
        group_name=GROUP,
        kinds={_KINDS.get(exposure["type"], exposure["type"])},
        description=exposure["description"],
        metadata={
            "label": exposure["label"] or exposure["name"],
            "maturity": exposure["maturity"] or "unknown",
            **({"url": dg.MetadataValue.url(exposure["url"])} if exposure["url"] else {}),
        },
    )
