# Figures of the grid for Cloud Monitoring: every five minutes `ami figures` reads the marts and
# prints a line per pole and one for the fleet; log-based metrics (monitoring.tf) read these.

resource "google_cloud_run_v2_job" "figures" {
  count = local.runs_figures ? 1 : 0

  name                = "ami-figures"
  location            = var.region
  deletion_protection = var.deletion_protection

  template {
    task_count = 1

    template {
      service_account = google_service_account.api.email
      timeout         = "240s"
      max_retries     = 0

      containers {
        image = var.api_image
        args  = ["figures"]

        resources {
          limits = { cpu = "1", memory = "1Gi" }
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
    google_project_iam_member.api_queries,
  ]
}

resource "google_cloud_scheduler_job" "figures" {
  count = local.runs_figures ? 1 : 0

  name             = "ami-figures"
  region           = var.region
  description      = "Figures of the grid for Cloud Monitoring"
  schedule         = "*/5 * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s"

  retry_config {
    retry_count = 0
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.figures[0].id}:run"

    oauth_token {
      service_account_email = google_service_account.scheduler.email
    }
  }
}
