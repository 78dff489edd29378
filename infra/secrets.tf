# Only the places: scripts add the values, so that none of them is in Terraform's state.

resource "google_secret_manager_secret" "api_keys" {
  secret_id = "ami-api-keys"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_secret_manager_secret" "dagster_database_url" {
  count = local.hosts_dagster_on_cloud_run ? 1 : 0

  secret_id = "ami-dagster-database-url"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.this]
}
