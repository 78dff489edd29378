locals {
  zone   = var.zone == "" ? "${var.region}-a" : var.zone
  labels = merge({ platform = "ami", environment = var.environment }, var.labels)

  artifact_bucket_name = var.artifact_bucket_name == "" ? "ami-artifacts-${var.project_id}" : var.artifact_bucket_name
  archive_bucket_name  = var.raw_archive_bucket_name == "" ? "ami-raw-archive-${var.project_id}" : var.raw_archive_bucket_name

  # As Dataflow wants it.
  subnetwork_url = "https://www.googleapis.com/compute/v1/${google_compute_subnetwork.this.id}"

  # Google's own account that moves undeliverable messages to the dead-letter topic.
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"

  edge_member      = "serviceAccount:${google_service_account.edge.email}"
  dataflow_member  = "serviceAccount:${google_service_account.dataflow.email}"
  api_member       = "serviceAccount:${google_service_account.api.email}"
  dagster_member   = "serviceAccount:${google_service_account.dagster.email}"
  scheduler_member = "serviceAccount:${google_service_account.scheduler.email}"
  build_member     = "serviceAccount:${google_service_account.build.email}"

  hosts_dagster_on_vm        = var.orchestrator == "dagster_vm" && var.dagster_release != ""
  hosts_dagster_on_cloud_run = var.orchestrator == "dagster_cloud_run"
  runs_figures               = var.api_image != ""

  # What every part of the platform reads (ami_contract/settings.py); none of it is secret.
  environment = merge(var.settings, {
    AMI_PROFILE                       = "gcp"
    AMI_PROJECT_ID                    = var.project_id
    AMI_BIGQUERY_DATASET              = google_bigquery_dataset.this.dataset_id
    AMI_BIGQUERY_LOCATION             = google_bigquery_dataset.this.location
    AMI_BIGQUERY_MAXIMUM_BYTES_BILLED = tostring(var.bigquery_maximum_bytes_billed)
    AMI_BIGQUERY_FIRST_DAY            = var.first_day
    AMI_PUBSUB_TOPIC                  = google_pubsub_topic.readings.name
    AMI_PUBSUB_SUBSCRIPTION           = google_pubsub_subscription.ingest.name
  })

  # What Dagster reads beside that, to launch and to watch the streaming job.
  dagster_environment = merge(local.environment, {
    AMI_ARCHIVE_BUCKET             = google_storage_bucket.archive.name
    AMI_DATAFLOW_REGION            = var.region
    AMI_DATAFLOW_JOB_NAME          = var.dataflow_job_name
    AMI_DATAFLOW_TEMP_LOCATION     = "gs://${google_storage_bucket.artifacts.name}/temp"
    AMI_DATAFLOW_SERVICE_ACCOUNT   = google_service_account.dataflow.email
    AMI_DATAFLOW_SUBNETWORK        = local.subnetwork_url
    AMI_DATAFLOW_MAX_WORKERS       = tostring(var.dataflow_max_workers)
    AMI_DATAFLOW_DEAD_LETTER_TOPIC = var.enable_dead_letter ? google_pubsub_topic.dead_letter[0].name : ""
    AMI_DATAFLOW_LAG_LIMIT_S       = tostring(var.lag_limit_s)
    AMI_ARRIVAL_LIMIT_S            = tostring(var.backlog_age_limit_s)
    AMI_RETENTION_RUNS_DAYS        = tostring(var.dagster_keep_runs_days)
  })
}
