resource "google_artifact_registry_repository" "images" {
  # checkov:skip=CKV_GCP_84: Google's keys encrypt it; a key of one's own is a decision on cost and outage (docs/security.md)
  repository_id = "ami"
  location      = var.region
  format        = "DOCKER"
  description   = "Images of API, Dagster and the Dataflow workers."

  # What is deployed is named by its digest; a tag never changes its meaning.
  docker_config {
    immutable_tags = true
  }

  cleanup_policy_dry_run = false

  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"

    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      older_than = "7776000s"
    }
  }

  depends_on = [google_project_service.this]
}
