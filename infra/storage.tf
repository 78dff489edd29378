# What Dataflow stages (temp/), sources of builds (builds/), releases for machines (releases/),
# logs of Dagster's runs (dagster/).
resource "google_storage_bucket" "artifacts" {
  # checkov:skip=CKV_GCP_62: access is told by Cloud Audit Logs; usage logs would fill a bucket of their own
  # checkov:skip=CKV_GCP_78: everything here is made anew by a launch, a build or a release
  name                        = local.artifact_bucket_name
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  # Dataflow writes and deletes here all the time; deleted files would be paid for another week.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    condition {
      age            = 7
      matches_prefix = ["builds/"]
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      age            = var.artifact_keep_days
      matches_prefix = ["temp/", "dagster/"]
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      age = 1
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  depends_on = [google_project_service.this]
}

# Raw archive (raw/) and dead letters (deadletter/).
#
# What is deleted or overwritten can be restored for archive_restore_days. A retention policy of the
# bucket is left out on purpose: Dataflow repeats bundles, a repeated bundle writes its own file
# again, and a policy would refuse that for as long as it lasts and stop the job.
resource "google_storage_bucket" "archive" {
  # checkov:skip=CKV_GCP_62: access is told by Cloud Audit Logs; usage logs would fill a bucket of their own
  name                        = local.archive_bucket_name
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = var.archive_restore_days * 86400
  }

  # Copies of the same content, from bundles that ran twice.
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = var.archive_restore_days
      with_state                 = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.archive_nearline_days > 0 ? [var.archive_nearline_days] : []

    content {
      condition {
        age            = lifecycle_rule.value
        matches_prefix = ["raw/"]
      }
      action {
        type          = "SetStorageClass"
        storage_class = "NEARLINE"
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.archive_keep_days > 0 ? [var.archive_keep_days] : []

    content {
      condition {
        age = lifecycle_rule.value
      }
      action {
        type = "Delete"
      }
    }
  }

  lifecycle_rule {
    condition {
      age = 1
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  depends_on = [google_project_service.this]
}
