"""The server's process: takes Streamlit's options, serves the pages until it is told to stop."""

from __future__ import annotations

import sys

from streamlit.web.cli import main

# Imported here, what pages need is there before the first visitor comes.
from ami_dashboard import charts, frame  # noqa: F401
from ami_dashboard.server import APP

if __name__ == "__main__":
    main(["run", str(APP), *sys.argv[1:]], prog_name="streamlit")
