#!/usr/bin/env bash
# First part of every machine's start-up script; may run again at any time. Reads the machine's
# metadata, leaves the release of `ami-release` installed below /opt/ami.
set -euo pipefail

metadata() {
    curl --fail --silent --show-error --header "Metadata-Flavor: Google" \
        "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

install_packages() {
    if ! dpkg --status "$@" >/dev/null 2>&1; then
        apt-get update --quiet
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@"
    fi
}

# A user of the platform, and the settings of its services.
prepare_user() {
    id ami >/dev/null 2>&1 || useradd --system --home-dir /var/lib/ami ami
    install -d -m 750 -o ami -g ami /var/lib/ami
    install -d -m 750 -g ami /etc/ami
    metadata ami-env >/etc/ami/ami.env.new
    chgrp ami /etc/ami/ami.env.new
    chmod 640 /etc/ami/ami.env.new
    mv /etc/ami/ami.env.new /etc/ami/ami.env
}

# Each release has a folder of its own; /opt/ami becomes a link to it once it is whole.
install_release() {
    local release name folder
    release=$(metadata ami-release)
    name=$(basename "$release" .tar.gz)
    folder=/opt/ami-releases/$name
    if [[ ! -e $folder/.installed ]]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        gcloud storage cp "$release" "/tmp/$name.tar.gz"
        tar --extract --gzip --file "/tmp/$name.tar.gz" --directory "$folder"
        rm "/tmp/$name.tar.gz"
        make --directory "$folder" .venv/.runtime
        chown -R ami:ami "$folder/dbt_ami"
        touch "$folder/.installed"
    fi
    ln --symbolic --force --no-dereference "$folder" /opt/ami
}
