#!/usr/bin/env bash
# Second part of the edge's start-up script, after common.sh: the release, and meters and gateways
# as a unit.
set -euo pipefail

install_packages python3-venv make
prepare_user
install_release
echo "AMI_EDGE_CONFIG=$(metadata ami-edge-config)" >>/etc/ami/ami.env
install -m 644 /opt/ami/infra/vm/ami-edge.service /etc/systemd/system/
systemctl daemon-reload
systemctl enable ami-edge
systemctl restart ami-edge
echo "the edge is installed: $(readlink /opt/ami)"
