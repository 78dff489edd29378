# Instead of Dagster: Cloud Scheduler starts a Cloud Run job that builds all models
# (orchestrator = "cloud_scheduler"; docs/operations.md says what is lost with it).

resource "google_cloud_run_v2_job" "dbt" {
  count = local.runs_dbt_by_scheduler ? 1 : 0

  name                = "ami-dbt"
  location            = var.region
  deletion_protection = var.deletion_protection

  template {
    task_count = 1

    template {
      service_account = google_service_account.dagster.email
      max_retries     = 0
      # A build has ended before the next one starts: one writer at a time.
      timeout = "${var.dbt_interval_minutes * 60 - 60}s"

      containers {
        image = var.dagster_image
        args  = ["dbt", "build"]

        resources {
          limits = { cpu = "1", memory = "2Gi" }
        }

        dynamic "env" {
          for_each = local.environment

          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }

  depends_on = [
    google_bigquery_dataset_iam_member.dagster_builds_marts,
    google_project_iam_member.dagster_queries,
  ]
}

resource "google_cloud_scheduler_job" "dbt" {
  count = local.runs_dbt_by_scheduler ? 1 : 0

  name             = "ami-dbt"
  region           = var.region
  description      = "Build of the marts"
  schedule         = var.dbt_interval_minutes == 60 ? "8 * * * *" : "*/${var.dbt_interval_minutes} * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s"

  # The next tick takes in what this one missed.
  retry_config {
    retry_count = 0
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.dbt[0].id}:run"

    oauth_token {
      service_account_email = google_service_account.scheduler.email
    }
  }
}
