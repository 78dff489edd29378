"""The pages' frame: reads settings, gives navigation; `ami dashboard` runs it under Streamlit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import streamlit as st

from ami_dashboard import frame

# A symbol by name would come from another site.
ICON: Final = Path(__file__).resolve().parent / "icon.svg"


def main() -> None:
    """Draw navigation and the page that is open."""
    st.set_page_config(page_title="AMI analytics", page_icon=str(ICON), layout="wide")
    frame.style()
    opened = st.navigation(
        [
            st.Page(frame.FLEET, title="Fleet", icon=":material/hub:", default=True),
            st.Page(frame.POLE, title="Pole", icon=":material/cell_tower:", url_path="pole"),
            st.Page(frame.EVENT, title="Events", icon=":material/bolt:", url_path="event"),
            st.Page(
                frame.DEMAND_RESPONSE,
                title="Demand response",
                icon=":material/trending_down:",
                url_path="dr",
            ),
            st.Page(
                frame.QUALITY,
                title="Data quality",
                icon=":material/fact_check:",
                url_path="quality",
            ),
        ],
        position="top",
    )
    opened.run()


if __name__ == "__main__":
    main()
