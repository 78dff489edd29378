# API and dashboard on Cloud Run. Google asks every caller who it is; nobody is let in that
# api_invokers does not name.

resource "google_cloud_run_v2_service" "api" {
  count = var.api_image == "" ? 0 : 1

  name                = "ami-api"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = var.deletion_protection

  template {
    service_account                  = google_service_account.api.email
    timeout                          = "60s"
    max_instance_request_concurrency = 40
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"

    scaling {
      min_instance_count = var.api_min_instances
      max_instance_count = var.api_max_instances
    }

    containers {
      name  = "api"
      image = var.api_image
      args  = ["api"]

      ports {
        container_port = 8080
      }

      resources {
        limits            = { cpu = "1", memory = "1Gi" }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = merge(local.environment, {
          AMI_API_HOST = "0.0.0.0"
          AMI_API_PORT = "8080"
        })

        content {
          name  = env.key
          value = env.value
        }
      }

      # Cloud Run hides the signature of the identity token from the service, so the API asks for a
      # key of its own beside it.
      env {
        name = "AMI_API_KEYS"

        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.api_keys.secret_id
            version = "latest"
          }
        }
      }

      startup_probe {
        period_seconds    = 5
        failure_threshold = 24
        timeout_seconds   = 5

        http_get {
          path = "/health"
          port = 8080
        }
      }

      liveness_probe {
        period_seconds    = 30
        failure_threshold = 3
        timeout_seconds   = 10

        http_get {
          path = "/health"
          port = 8080
        }
      }
    }
  }

  depends_on = [
    google_bigquery_dataset_iam_member.api_reads_marts,
    google_project_iam_member.api_queries,
    google_secret_manager_secret_iam_member.api_reads_its_keys,
  ]
}

# The pages ask an API of their own beside them, on loopback, which needs no key.
resource "google_cloud_run_v2_service" "dashboard" {
  count = var.api_image == "" ? 0 : 1

  name                = "ami-dashboard"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = var.deletion_protection

  template {
    service_account       = google_service_account.api.email
    timeout               = "3600s"
    session_affinity      = true
    execution_environment = "EXECUTION_ENVIRONMENT_GEN2"

    scaling {
      min_instance_count = 0
      max_instance_count = var.api_max_instances
    }

    containers {
      name       = "dashboard"
      image      = var.api_image
      args       = ["dashboard", "--host", "0.0.0.0", "--port", "8501"]
      depends_on = ["api"]

      ports {
        container_port = 8501
      }

      resources {
        limits            = { cpu = "1", memory = "1Gi" }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      env {
        name  = "AMI_API_URL"
        value = "http://127.0.0.1:8000"
      }

      startup_probe {
        period_seconds    = 5
        failure_threshold = 24
        timeout_seconds   = 5

        http_get {
          path = "/_stcore/health"
          port = 8501
        }
      }
    }

    containers {
      name  = "api"
      image = var.api_image
      args  = ["api"]

      resources {
        limits            = { cpu = "1", memory = "1Gi" }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = merge(local.environment, {
          AMI_API_HOST = "127.0.0.1"
          AMI_API_PORT = "8000"
        })

        content {
          name  = env.key
          value = env.value
        }
      }

      # Probes come from outside the container, where nothing listens: the start is seen by TCP.
      startup_probe {
        period_seconds    = 5
        failure_threshold = 24
        timeout_seconds   = 5

        tcp_socket {
          port = 8000
        }
      }
    }
  }

  depends_on = [
    google_bigquery_dataset_iam_member.api_reads_marts,
    google_project_iam_member.api_queries,
  ]
}
