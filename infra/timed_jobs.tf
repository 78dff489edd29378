# What Cloud Scheduler starts, as jobs of Cloud Run.

locals {
  timed_jobs = { for name, job in {
    # `ami figures` reads the marts and prints a line per pole and one for the fleet; log-based
    # metrics (log_metrics.tf) read these.
    figures = {
      is_there    = local.runs_figures
      description = "Figures of the grid for Cloud Monitoring"
      schedule    = "*/5 * * * *"
      image       = var.api_image
      args        = ["figures"]
      account     = google_service_account.api.email
      timeout_s   = 240
      memory      = "1Gi"
    }
    # Instead of Dagster, all models (docs/operations.md says what is lost with it).
    dbt = {
      is_there    = var.orchestrator == "cloud_scheduler" && var.dagster_image != ""
      description = "Build of the marts"
      schedule    = var.dbt_interval_minutes == 60 ? "8 * * * *" : "*/${var.dbt_interval_minutes} * * * *"
      image       = var.dagster_image
      args        = ["dbt", "build"]
      account     = google_service_account.dagster.email
      # A build has ended before the next one starts: one writer at a time.
      timeout_s = var.dbt_interval_minutes * 60 - 60
      memory    = "2Gi"
    }
  } : name => job if job.is_there }
}

resource "google_cloud_run_v2_job" "timed" {
  for_each = local.timed_jobs

  name                = "ami-${each.key}"
  location            = var.region
  deletion_protection = var.deletion_protection

  template {
    task_count = 1

    template {
      service_account = each.value.account
      timeout         = "${each.value.timeout_s}s"
      max_retries     = 0

      containers {
        image = each.value.image
        args  = each.value.args

        resources {
          limits = { cpu = "1", memory = each.value.memory }
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
    google_bigquery_dataset_iam_member.api_reads_marts,
    google_bigquery_dataset_iam_member.dagster_builds_marts,
    google_project_iam_member.api_queries,
    google_project_iam_member.dagster_queries,
  ]
}

resource "google_cloud_scheduler_job" "timed" {
  for_each = local.timed_jobs

  name             = "ami-${each.key}"
  region           = var.region
  description      = each.value.description
  schedule         = each.value.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s"

  # The next tick takes in what this one missed.
  retry_config {
    retry_count = 0
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.timed[each.key].id}:run"

    oauth_token {
      service_account_email = google_service_account.scheduler.email
    }
  }
}
