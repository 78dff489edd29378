# What a plan without any variable but the project makes.
mock_provider "google" {}

variables {
  project_id = "demo-project"
}

run "names_of_the_plan" {
  command = plan

  assert {
    condition     = google_pubsub_topic.readings.name == "ami-meter-data" && google_pubsub_subscription.ingest.name == "ami-meter-data-sub" && google_pubsub_topic.dead_letter[0].name == "ami-meter-data-dlq"
    error_message = "topic, subscription and dead-letter topic have other names"
  }
  assert {
    condition     = google_storage_bucket.artifacts.name == "ami-artifacts-demo-project" && google_storage_bucket.archive.name == "ami-raw-archive-demo-project"
    error_message = "buckets have other names"
  }
  assert {
    condition     = google_bigquery_dataset.this.dataset_id == "smart_grid_analytics" && toset(keys(google_bigquery_table.this)) == toset(["raw_meter_readings", "minute_agg_pole_live", "meters"])
    error_message = "dataset or tables have other names"
  }
  assert {
    condition     = [google_service_account.edge.account_id, google_service_account.dataflow.account_id, google_service_account.api.account_id, google_service_account.dagster.account_id] == ["edge-device-sa", "dataflow-sa", "api-sa", "dagster-sa"]
    error_message = "service accounts have other names"
  }
}

run "subscription_suits_dataflow" {
  command = plan

  assert {
    condition     = !google_pubsub_subscription.ingest.enable_exactly_once_delivery && length(google_pubsub_subscription.ingest.dead_letter_policy) == 0
    error_message = "Dataflow handles repetition and dead letters itself"
  }
  assert {
    condition     = google_pubsub_subscription.ingest.ack_deadline_seconds == 60 && google_pubsub_subscription.ingest.message_retention_duration == "86400s" && google_pubsub_subscription.ingest.expiration_policy[0].ttl == ""
    error_message = "messages wait a day and the subscription never expires"
  }
}

run "buckets_are_private_and_archive_can_be_restored" {
  command = plan

  assert {
    condition     = alltrue([for bucket in [google_storage_bucket.artifacts, google_storage_bucket.archive] : bucket.public_access_prevention == "enforced" && bucket.uniform_bucket_level_access && !bucket.force_destroy])
    error_message = "a bucket is open, or goes with its content"
  }
  assert {
    condition     = google_storage_bucket.archive.versioning[0].enabled && google_storage_bucket.archive.soft_delete_policy[0].retention_duration_seconds == 604800
    error_message = "what is deleted or overwritten in the archive must come back for a week"
  }
  assert {
    condition     = length(google_storage_bucket.archive.retention_policy) == 0
    error_message = "a retention policy refuses the repeated write of a repeated bundle and stops the job"
  }
}

run "readings_are_partitioned_protected_and_kept" {
  command = plan

  assert {
    condition     = google_bigquery_table.this["raw_meter_readings"].time_partitioning[0].field == "event_ts" && google_bigquery_table.this["raw_meter_readings"].time_partitioning[0].type == "DAY" && google_bigquery_table.this["raw_meter_readings"].require_partition_filter
    error_message = "raw readings are partitioned by day of event_ts, and a query must name days"
  }
  assert {
    condition     = google_bigquery_table.this["raw_meter_readings"].clustering == tolist(["pole_id", "meter_id"])
    error_message = "raw readings are clustered by pole and meter"
  }
  assert {
    condition     = alltrue([for table in google_bigquery_table.this : table.deletion_protection]) && local.tables["raw_meter_readings"].partition_expiry == 0 && google_bigquery_dataset.this.default_table_expiration_ms == null
    error_message = "tables are protected and readings do not expire"
  }
}

run "nothing_runs_until_scripts_deploy_it" {
  command = plan

  assert {
    condition     = length(google_cloud_run_v2_service.api) + length(google_cloud_run_v2_service.dashboard) + length(google_cloud_run_v2_job.timed) + length(google_compute_instance.dagster) + length(google_compute_instance.edge) + length(google_sql_database_instance.dagster) + length(google_billing_budget.this) == 0
    error_message = "images, releases and the billing account are not known yet"
  }
}
