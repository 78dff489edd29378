locals {
  # Partitioning and clustering are those of beam_jobs/bigquery_tables.py, which makes the same
  # tables where there is no Terraform; a test compares them.
  tables = {
    raw_meter_readings = {
      description      = "All stored readings, one row per copy; duplicates possible."
      partition_field  = "event_ts"
      clustering       = ["pole_id", "meter_id"]
      requires_filter  = true
      partition_expiry = var.bq_expiry_days
    }
    minute_agg_pole_live = {
      description      = "Provisional aggregates per pole and window, as the streaming job sees them."
      partition_field  = "window_start"
      clustering       = ["pole_id"]
      requires_filter  = false
      partition_expiry = var.bq_expiry_days == 0 ? 7 : var.bq_expiry_days
    }
    meters = {
      description      = "Registry of the fleet, one row per meter and period of service; yours to edit."
      partition_field  = null
      clustering       = ["pole_id", "meter_id"]
      requires_filter  = false
      partition_expiry = 0
    }
  }
}

resource "google_bigquery_dataset" "this" {
  # checkov:skip=CKV_GCP_81: Google's keys encrypt it; a key of one's own is a decision on cost and outage (docs/security.md)
  dataset_id                 = var.bq_dataset
  location                   = var.bigquery_location
  description                = "Readings of AMI 2.0 meters and what is made of them."
  delete_contents_on_destroy = !var.deletion_protection
  max_time_travel_hours      = "168"

  default_table_expiration_ms     = var.bq_expiry_days == 0 ? null : var.bq_expiry_days * 86400000
  default_partition_expiration_ms = var.bq_expiry_days == 0 ? null : var.bq_expiry_days * 86400000

  depends_on = [google_project_service.this]
}

# Marts are dbt's: it makes, alters and describes them.
resource "google_bigquery_table" "this" {
  # checkov:skip=CKV_GCP_80: Google's keys encrypt it; a key of one's own is a decision on cost and outage (docs/security.md)
  # checkov:skip=CKV_GCP_121: deletion protection is a variable, on unless a demo switches it off
  for_each = local.tables

  dataset_id               = google_bigquery_dataset.this.dataset_id
  table_id                 = each.key
  description              = each.value.description
  schema                   = file("${path.module}/../ami_contract/generated/${each.key}.bigquery.json")
  clustering               = each.value.clustering
  require_partition_filter = each.value.requires_filter
  deletion_protection      = var.deletion_protection

  dynamic "time_partitioning" {
    for_each = each.value.partition_field == null ? [] : [each.value]

    content {
      type          = "DAY"
      field         = time_partitioning.value.partition_field
      expiration_ms = time_partitioning.value.partition_expiry == 0 ? null : time_partitioning.value.partition_expiry * 86400000
    }
  }
}
