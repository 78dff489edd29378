# Dagster on a small machine (orchestrator = "dagster_vm"): code server, webserver and daemon as
# systemd units of infra/systemd, runs in SQLite on a disk of its own. People reach the UI through
# Google's identity-aware proxy only.

resource "google_compute_disk" "dagster" {
  # checkov:skip=CKV_GCP_37: Google's keys encrypt it; a key of one's own is a decision on cost and outage (docs/security.md)
  count = local.hosts_dagster_on_vm ? 1 : 0

  name                           = "ami-dagster-data"
  type                           = "pd-balanced"
  size                           = var.dagster_disk_gb
  zone                           = local.zone
  create_snapshot_before_destroy = var.deletion_protection

  depends_on = [google_project_service.this]
}

resource "google_compute_instance" "dagster" {
  # checkov:skip=CKV_GCP_38: Google's keys encrypt its disks; a key of one's own is a decision on cost and outage (docs/security.md)
  count = local.hosts_dagster_on_vm ? 1 : 0

  name                      = "ami-dagster"
  machine_type              = var.dagster_machine_type
  zone                      = local.zone
  tags                      = ["ami-iap"]
  allow_stopping_for_update = true
  deletion_protection       = var.deletion_protection

  boot_disk {
    initialize_params {
      image = "debian-cloud/debian-12"
      type  = "pd-balanced"
      size  = 20
    }
  }

  attached_disk {
    source      = google_compute_disk.dagster[0].id
    device_name = "ami-data"
  }

  # No access_config: no public address.
  network_interface {
    subnetwork = google_compute_subnetwork.this.id
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  service_account {
    email  = google_service_account.dagster.email
    scopes = ["cloud-platform"]
  }

  # Under this key a changed script takes effect at the next start and replaces no machine.
  metadata = {
    enable-oslogin         = "TRUE"
    block-project-ssh-keys = "TRUE"
    startup-script         = join("\n", [file("${path.module}/vm/common.sh"), file("${path.module}/vm/dagster.sh")])
    ami-release            = var.dagster_release
    ami-env                = join("", [for name, value in merge(local.dagster_environment, { AMI_DATA_DIR = "/var/lib/ami" }) : "${name}=${value}\n"])
  }

  depends_on = [
    google_compute_router_nat.this,
    google_storage_bucket_iam_member.dagster_stages,
  ]
}
