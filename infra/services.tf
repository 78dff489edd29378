locals {
  services = toset(concat(
    [
      "artifactregistry", "bigquery", "bigquerystorage", "cloudbuild", "cloudresourcemanager",
      "cloudscheduler", "compute", "dataflow", "iam", "iamcredentials", "iap", "logging",
      "monitoring", "pubsub", "run", "secretmanager", "storage",
    ],
    local.hosts_dagster_on_cloud_run ? ["servicenetworking", "sqladmin"] : [],
    var.billing_account == "" ? [] : ["billingbudgets"],
  ))
}

# Left on when the rest goes: other things in the project may use them.
resource "google_project_service" "this" {
  for_each = local.services

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}
