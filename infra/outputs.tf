output "pubsub_topic" {
  description = "Topic of the readings."
  value       = google_pubsub_topic.readings.name
}

output "pubsub_subscription" {
  description = "Subscription that the Dataflow job reads."
  value       = google_pubsub_subscription.ingest.name
}

output "dlq_topic" {
  description = "Topic of the dead letters; empty: they become files."
  value       = var.enable_dead_letter ? google_pubsub_topic.dead_letter[0].name : ""
}

output "raw_archive_bucket_uri" {
  description = "Bucket of the raw archive."
  value       = "gs://${google_storage_bucket.archive.name}"
}

output "artifact_bucket_uri" {
  description = "Bucket of staged files, sources of builds and releases."
  value       = "gs://${google_storage_bucket.artifacts.name}"
}

output "bq_dataset" {
  description = "Dataset of readings and marts, PROJECT.DATASET."
  value       = "${var.project_id}.${google_bigquery_dataset.this.dataset_id}"
}

output "bq_tables" {
  description = "Tables that Terraform made, by name; PROJECT.DATASET.TABLE."
  value       = { for name, table in google_bigquery_table.this : name => "${var.project_id}.${table.dataset_id}.${table.table_id}" }
}

output "service_accounts" {
  description = "E-mail addresses of the service accounts, by name."
  value = {
    for account in [
      google_service_account.edge, google_service_account.dataflow, google_service_account.api,
      google_service_account.dagster, google_service_account.scheduler, google_service_account.build,
    ] : account.account_id => account.email
  }
}

output "image_repository" {
  description = "Where images are pushed, without their name."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}

output "dataflow_options" {
  description = "Options of `python -m beam_jobs.main` that launch the streaming job, without its code (scripts/30_launch_dataflow.sh adds it)."
  value = merge(
    {
      runner                = "DataflowRunner"
      project               = var.project_id
      region                = var.region
      job_name              = var.dataflow_job_name
      temp_location         = "gs://${google_storage_bucket.artifacts.name}/temp"
      staging_location      = "gs://${google_storage_bucket.artifacts.name}/temp"
      service_account_email = google_service_account.dataflow.email
      worker_machine_type   = var.dataflow_machine_type
      max_num_workers       = tostring(var.dataflow_max_workers)
      subnetwork            = local.subnetwork_url
      input_subscription    = google_pubsub_subscription.ingest.id
      output_bq_table       = "${var.project_id}:${google_bigquery_dataset.this.dataset_id}.${google_bigquery_table.this["raw_meter_readings"].table_id}"
      bq_write_method       = var.bq_write_method
      raw_archive_bucket    = google_storage_bucket.archive.name
      raw_archive_prefix    = "raw/"
      archive_minutes       = tostring(var.archive_minutes)
      window_seconds        = tostring(var.window_seconds)
    },
    var.enable_dead_letter ? { dlq_topic = google_pubsub_topic.dead_letter[0].id } : {},
  )
}

output "environment" {
  description = "Settings (AMI_…) for the platform's commands on another machine; none is secret."
  value       = local.dagster_environment
}

output "region" {
  description = "Region of everything that has one."
  value       = var.region
}

output "api_url" {
  description = "Address of the API; empty: not deployed."
  value       = var.api_image == "" ? "" : google_cloud_run_v2_service.api[0].uri
}

output "dashboard_url" {
  description = "Address of the dashboard; empty: not deployed."
  value       = var.api_image == "" ? "" : google_cloud_run_v2_service.dashboard[0].uri
}

output "dagster" {
  description = "Where Dagster runs: vm:NAME:ZONE, cloud_run:URL, or empty."
  value = (
    local.hosts_dagster_on_vm ? "vm:${google_compute_instance.dagster[0].name}:${google_compute_instance.dagster[0].zone}" :
    local.hosts_dagster_on_cloud_run && var.dagster_image != "" ? "cloud_run:${google_cloud_run_v2_service.dagster[0].uri}" : ""
  )
}

output "dagster_sql_instance" {
  description = "Cloud SQL instance behind Dagster on Cloud Run, PROJECT:REGION:NAME; empty: none."
  value       = local.hosts_dagster_on_cloud_run ? google_sql_database_instance.dagster[0].connection_name : ""
}

# So that a later apply, also from another machine, keeps what scripts have deployed.
output "deployed" {
  description = "Variables that scripts have set; empty ones are not kept."
  value = {
    api_image       = var.api_image
    dagster_image   = var.dagster_image
    dagster_release = var.dagster_release
    edge_release    = var.edge_release
    edge_config     = var.enable_edge_vm ? var.edge_config : ""
    enable_edge_vm  = var.enable_edge_vm ? "true" : ""
  }
}

output "orchestrator" {
  description = "What builds the marts."
  value       = var.orchestrator
}
