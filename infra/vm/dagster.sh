#!/usr/bin/env bash
# Second part of the Dagster host's start-up script, after common.sh: its disk, the release, the
# units of infra/systemd. Java is for launches that write by the Storage Write API.
set -euo pipefail

mount_data_disk() {
    local disk=/dev/disk/by-id/google-ami-data found=0
    [[ -b $disk ]]
    # Only a disk on which nothing at all is found is new; any other doubt ends here.
    blkid --probe "$disk" || found=$?
    case $found in
    0) ;;
    2) mkfs.ext4 -q "$disk" ;;
    *) exit 1 ;;
    esac
    mkdir -p /var/lib/ami
    grep --quiet "$disk" /etc/fstab ||
        echo "$disk /var/lib/ami ext4 defaults,nofail 0 2" >>/etc/fstab
    mountpoint --quiet /var/lib/ami || mount /var/lib/ami
}

start_units() {
    local unit units=(ami-code-server ami-webserver ami-daemon)
    install -m 644 /opt/ami/infra/systemd/ami.target /etc/systemd/system/
    for unit in "${units[@]}"; do
        install -m 644 "/opt/ami/infra/systemd/$unit.service" /etc/systemd/system/
    done
    systemctl daemon-reload
    systemctl enable ami.target "${units[@]}"
    systemctl restart "${units[@]}"
    systemctl start ami.target
}

install_packages python3-venv make default-jre-headless
mount_data_disk
prepare_user
install_release
start_units
echo "Dagster is installed: $(readlink /opt/ami)"
