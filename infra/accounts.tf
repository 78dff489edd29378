# One account per part, none with a key: machines and services run as them, people act as them.

resource "google_service_account" "edge" {
  account_id   = "edge-device-sa"
  display_name = "AMI edge: gateways that publish readings"
  depends_on   = [google_project_service.this]
}

resource "google_service_account" "dataflow" {
  account_id   = "dataflow-sa"
  display_name = "AMI ingest: workers of the Dataflow job"
  depends_on   = [google_project_service.this]
}

resource "google_service_account" "api" {
  account_id   = "api-sa"
  display_name = "AMI API, dashboard and figures: read the marts"
  depends_on   = [google_project_service.this]
}

resource "google_service_account" "dagster" {
  account_id   = "dagster-sa"
  display_name = "AMI orchestration: builds the marts, launches and watches the ingest"
  depends_on   = [google_project_service.this]
}

resource "google_service_account" "scheduler" {
  account_id   = "scheduler-sa"
  display_name = "AMI timers: start jobs on Cloud Run"
  depends_on   = [google_project_service.this]
}

resource "google_service_account" "build" {
  account_id   = "build-sa"
  display_name = "AMI builds: images by Cloud Build"
  depends_on   = [google_project_service.this]
}
