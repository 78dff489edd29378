# Who may what. The same table, with the reasons, is the IAM matrix of docs/security.md; a test
# compares the two. Only members are added: what others have in the project stays.

# Edge

resource "google_pubsub_topic_iam_member" "edge_publishes_readings" {
  topic  = google_pubsub_topic.readings.name
  role   = "roles/pubsub.publisher"
  member = local.edge_member
}

resource "google_storage_bucket_iam_member" "edge_reads_releases" {
  count = var.enable_edge_vm ? 1 : 0

  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectViewer"
  member = local.edge_member

  condition {
    title      = "releases"
    expression = "resource.name.startsWith(\"projects/_/buckets/${local.artifact_bucket_name}/objects/releases/\")"
  }
}

resource "google_service_account_iam_member" "publishers_act_as_edge" {
  for_each = toset(var.edge_impersonators)

  service_account_id = google_service_account.edge.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}

# Dataflow workers

resource "google_project_iam_member" "dataflow_works" {
  project = var.project_id
  role    = "roles/dataflow.worker"
  member  = local.dataflow_member
}

resource "google_pubsub_subscription_iam_member" "dataflow_pulls" {
  subscription = google_pubsub_subscription.ingest.name
  role         = "roles/pubsub.subscriber"
  member       = local.dataflow_member
}

resource "google_pubsub_subscription_iam_member" "dataflow_looks_at_subscription" {
  subscription = google_pubsub_subscription.ingest.name
  role         = "roles/pubsub.viewer"
  member       = local.dataflow_member
}

resource "google_pubsub_topic_iam_member" "dataflow_publishes_dead_letters" {
  count = var.enable_dead_letter ? 1 : 0

  topic  = google_pubsub_topic.dead_letter[0].name
  role   = "roles/pubsub.publisher"
  member = local.dataflow_member
}

resource "google_bigquery_dataset_iam_member" "dataflow_writes_readings" {
  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = local.dataflow_member
}

resource "google_project_iam_member" "dataflow_loads_files" {
  count = var.bq_write_method == "file_loads" ? 1 : 0

  project = var.project_id
  role    = "roles/bigquery.jobUser"
  member  = local.dataflow_member
}

resource "google_storage_bucket_iam_member" "dataflow_writes_archive" {
  bucket = google_storage_bucket.archive.name
  role   = "roles/storage.objectUser"
  member = local.dataflow_member
}

resource "google_storage_bucket_iam_member" "dataflow_stages" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectUser"
  member = local.dataflow_member
}

resource "google_artifact_registry_repository_iam_member" "dataflow_pulls_image" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = local.dataflow_member
}

# API, dashboard, figures

resource "google_project_iam_member" "api_queries" {
  project = var.project_id
  role    = "roles/bigquery.jobUser"
  member  = local.api_member
}

resource "google_bigquery_dataset_iam_member" "api_reads_marts" {
  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = local.api_member
}

resource "google_secret_manager_secret_iam_member" "api_reads_its_keys" {
  secret_id = google_secret_manager_secret.api_keys.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.api_member
}

# Dagster, or dbt alone

resource "google_project_iam_member" "dagster_queries" {
  project = var.project_id
  role    = "roles/bigquery.jobUser"
  member  = local.dagster_member
}

resource "google_bigquery_dataset_iam_member" "dagster_builds_marts" {
  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = local.dagster_member
}

resource "google_project_iam_member" "dagster_launches_ingest" {
  # checkov:skip=CKV_GCP_49: jobs of Dataflow are no resource that a role could be given on; it launches and drains the ingest
  project = var.project_id
  role    = "roles/dataflow.developer"
  member  = local.dagster_member
}

resource "google_service_account_iam_member" "dagster_hands_account_to_workers" {
  service_account_id = google_service_account.dataflow.name
  role               = "roles/iam.serviceAccountUser"
  member             = local.dagster_member
}

resource "google_project_iam_member" "dagster_reads_metrics" {
  project = var.project_id
  role    = "roles/monitoring.viewer"
  member  = local.dagster_member
}

resource "google_storage_bucket_iam_member" "dagster_looks_at_archive" {
  bucket = google_storage_bucket.archive.name
  role   = "roles/storage.objectViewer"
  member = local.dagster_member
}

resource "google_storage_bucket_iam_member" "dagster_stages" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectUser"
  member = local.dagster_member
}

# Beam asks for the bucket itself before it stages into it.
resource "google_storage_bucket_iam_member" "dagster_finds_staging_bucket" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.legacyBucketReader"
  member = local.dagster_member
}

resource "google_project_iam_member" "dagster_connects_to_sql" {
  count = local.hosts_dagster_on_cloud_run ? 1 : 0

  project = var.project_id
  role    = "roles/cloudsql.client"
  member  = local.dagster_member
}

resource "google_secret_manager_secret_iam_member" "dagster_reads_database_url" {
  count = local.hosts_dagster_on_cloud_run ? 1 : 0

  secret_id = google_secret_manager_secret.dagster_database_url[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.dagster_member
}

# Timers

resource "google_cloud_run_v2_job_iam_member" "scheduler_starts_jobs" {
  for_each = local.timed_jobs

  location = google_cloud_run_v2_job.timed[each.key].location
  name     = google_cloud_run_v2_job.timed[each.key].name
  role     = "roles/run.invoker"
  member   = local.scheduler_member
}

# Builds

resource "google_storage_bucket_iam_member" "build_reads_sources" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectViewer"
  member = local.build_member

  condition {
    title      = "builds"
    expression = "resource.name.startsWith(\"projects/_/buckets/${local.artifact_bucket_name}/objects/builds/\")"
  }
}

resource "google_artifact_registry_repository_iam_member" "build_pushes_images" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = local.build_member
}

resource "google_project_iam_member" "build_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = local.build_member
}

# People

resource "google_cloud_run_v2_service_iam_member" "invokers_call_api" {
  for_each = toset(var.api_image == "" ? [] : var.api_invokers)

  location = google_cloud_run_v2_service.api[0].location
  name     = google_cloud_run_v2_service.api[0].name
  role     = "roles/run.invoker"
  member   = each.value
}

resource "google_cloud_run_v2_service_iam_member" "invokers_open_dashboard" {
  for_each = toset(var.api_image == "" ? [] : var.api_invokers)

  location = google_cloud_run_v2_service.dashboard[0].location
  name     = google_cloud_run_v2_service.dashboard[0].name
  role     = "roles/run.invoker"
  member   = each.value
}

# The keys behind the API's own door: those who may call it may know them.
resource "google_secret_manager_secret_iam_member" "invokers_read_api_keys" {
  for_each = toset(var.api_invokers)

  secret_id = google_secret_manager_secret.api_keys.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value
}

resource "google_cloud_run_v2_service_iam_member" "operators_open_dagster" {
  for_each = toset(local.hosts_dagster_on_cloud_run && var.dagster_image != "" ? var.operators : [])

  location = google_cloud_run_v2_service.dagster[0].location
  name     = google_cloud_run_v2_service.dagster[0].name
  role     = "roles/run.invoker"
  member   = each.value
}

resource "google_iap_tunnel_instance_iam_member" "operators_tunnel_to_dagster" {
  for_each = toset(local.hosts_dagster_on_vm ? var.operators : [])

  zone     = google_compute_instance.dagster[0].zone
  instance = google_compute_instance.dagster[0].name
  role     = "roles/iap.tunnelResourceAccessor"
  member   = each.value
}

resource "google_project_iam_member" "operators_log_in" {
  for_each = toset(local.hosts_dagster_on_vm ? var.operators : [])

  project = var.project_id
  role    = "roles/compute.osAdminLogin"
  member  = each.value
}

# Logging in to a machine is acting as its account.
resource "google_service_account_iam_member" "operators_act_as_dagster" {
  for_each = toset(var.operators)

  service_account_id = google_service_account.dagster.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}

# dbt from a laptop (AMI_BIGQUERY_SERVICE_ACCOUNT), without a key.
resource "google_service_account_iam_member" "operators_impersonate_dagster" {
  for_each = toset(var.operators)

  service_account_id = google_service_account.dagster.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}

# Pub/Sub itself, for the pull subscription of other consumers

resource "google_pubsub_topic_iam_member" "pubsub_publishes_dead_letters" {
  count = var.enable_dead_letter && var.enable_pull_subscription ? 1 : 0

  topic  = google_pubsub_topic.dead_letter[0].name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "pubsub_takes_undeliverable" {
  count = var.enable_dead_letter && var.enable_pull_subscription ? 1 : 0

  subscription = google_pubsub_subscription.pull[0].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}
