# A small machine that plays meters and gateways, as edge-device-sa.

resource "google_compute_instance" "edge" {
  # checkov:skip=CKV_GCP_38: Google's keys encrypt its disks; a key of one's own is a decision on cost and outage (docs/security.md)
  count = var.enable_edge_vm && var.edge_release != "" ? 1 : 0

  name                      = "ami-edge"
  machine_type              = var.edge_machine_type
  zone                      = local.zone
  allow_stopping_for_update = true

  boot_disk {
    initialize_params {
      image = "debian-cloud/debian-12"
      type  = "pd-balanced"
      size  = 20
    }
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
    email  = google_service_account.edge.email
    scopes = ["cloud-platform"]
  }

  metadata = {
    enable-oslogin         = "TRUE"
    block-project-ssh-keys = "TRUE"
    startup-script         = join("\n", [file("${path.module}/vm/common.sh"), file("${path.module}/vm/edge.sh")])
    ami-release            = var.edge_release
    ami-edge-config        = var.edge_config
    ami-env = join("", [
      "AMI_PROFILE=gcp\n",
      "AMI_DATA_DIR=/var/lib/ami\n",
      "AMI_PROJECT_ID=${var.project_id}\n",
      "AMI_PUBSUB_TOPIC=${google_pubsub_topic.readings.name}\n",
    ])
  }

  depends_on = [
    google_compute_router_nat.this,
    google_pubsub_topic_iam_member.edge_publishes_readings,
    google_storage_bucket_iam_member.edge_reads_releases,
  ]
}
