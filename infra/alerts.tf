resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  display_name = "AMI alerts to ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
  depends_on   = [google_project_service.this]
}

locals {
  alert_channels = [for address in sort(var.alert_emails) : google_monitoring_notification_channel.email[address].id]

  subscription_filter = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${var.pubsub_subscription}\""
  job_filter          = "resource.type=\"dataflow_job\" AND resource.labels.job_name=\"${var.dataflow_job_name}\""
  figures_filter      = "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"ami-figures\""
  api_filter          = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"ami-api\""

  # `limit` is what must not be exceeded for `for_s` seconds.
  alerts = merge(
    {
      backlog_age = {
        title    = "AMI: readings wait for the ingest"
        severity = "ERROR"
        filter   = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND ${local.subscription_filter}"
        aligner  = "ALIGN_MAX"
        reducer  = "REDUCE_MAX"
        period_s = 60
        for_s    = 180
        limit    = var.backlog_age_limit_s
        remedy   = "The oldest message waits longer than ${var.backlog_age_limit_s} s. Is the Dataflow job running (`ingest_job` in Dagster, or gcloud dataflow jobs list)? If it runs at its most workers, raise dataflow_max_workers. Messages are kept for ${var.message_retention_hours} h."
      }
      lag = {
        title    = "AMI: the Dataflow job lags"
        severity = "ERROR"
        filter   = "metric.type=\"dataflow.googleapis.com/job/system_lag\" AND ${local.job_filter}"
        aligner  = "ALIGN_MAX"
        reducer  = "REDUCE_MAX"
        period_s = 60
        for_s    = 300
        limit    = var.lag_limit_s
        remedy   = "An element is in the job for longer than ${var.lag_limit_s} s. Look for errors in the log of its workers; a step that keeps failing repeats its bundle until a job with corrected code replaces it (scripts/30_launch_dataflow.sh --update)."
      }
      job_failed = {
        title    = "AMI: the Dataflow job has failed"
        severity = "CRITICAL"
        filter   = "metric.type=\"dataflow.googleapis.com/job/is_failed\" AND ${local.job_filter}"
        aligner  = "ALIGN_MAX"
        reducer  = "REDUCE_MAX"
        period_s = 60
        for_s    = 0
        limit    = 0
        remedy   = "Nothing is ingested. Read the job's log, mend the cause and launch it again (scripts/30_launch_dataflow.sh); messages are kept for ${var.message_retention_hours} h."
      }
      ingest_errors = {
        title    = "AMI: workers of the Dataflow job log errors"
        severity = "WARNING"
        filter   = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.ingest_errors.name}\" AND resource.type=\"dataflow_step\""
        aligner  = "ALIGN_DELTA"
        reducer  = "REDUCE_SUM"
        period_s = 300
        for_s    = 600
        limit    = 10
        remedy   = "More than ten errors in five minutes, twice running. Read them in the job's log."
      }
    },
    var.enable_dead_letter ? {
      dead_letters = {
        title    = "AMI: readings are refused"
        severity = "WARNING"
        filter   = "metric.type=\"pubsub.googleapis.com/topic/send_message_operation_count\" AND resource.type=\"pubsub_topic\" AND resource.labels.topic_id=\"${var.dlq_topic}\""
        aligner  = "ALIGN_DELTA"
        reducer  = "REDUCE_SUM"
        period_s = 3600
        for_s    = 0
        limit    = var.dead_letters_limit_per_hour
        remedy   = "More than ${var.dead_letters_limit_per_hour} dead letters in an hour. Look at some: gcloud pubsub subscriptions pull ${var.dlq_topic}-sub --limit 5; the attribute code says why (docs/deadletter.md)."
      }
    } : {},
    local.runs_figures ? {
      freshness = {
        title    = "AMI: the marts are old"
        severity = "ERROR"
        filter   = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.figures["ami_marts_age_s"].name}\" AND resource.type=\"cloud_run_job\""
        aligner  = "ALIGN_DELTA"
        reducer  = "REDUCE_MEAN"
        period_s = 600
        for_s    = 0
        limit    = var.freshness_limit_s
        remedy   = "The newest reading in the marts is older than ${var.freshness_limit_s} s. Do readings arrive (alert on the backlog, edge)? Do builds run (Dagster's runs, or the job ami-dbt)?"
      }
      api_errors = {
        title    = "AMI: the API answers with errors"
        severity = "ERROR"
        filter   = "metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\" AND ${local.api_filter}"
        aligner  = "ALIGN_RATE"
        reducer  = "REDUCE_SUM"
        period_s = 60
        for_s    = 300
        limit    = var.api_error_limit_per_min / 60
        remedy   = "More than ${var.api_error_limit_per_min} server errors a minute for five minutes. Read the log of the service ami-api; 503 means that no mart is built yet or BigQuery does not answer."
      }
    } : {},
  )
}

resource "google_monitoring_alert_policy" "this" {
  for_each = local.alerts

  display_name          = each.value.title
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.alert_channels

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.limit
      duration        = "${each.value.for_s}s"

      aggregations {
        alignment_period     = "${each.value.period_s}s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.remedy
  }

  alert_strategy {
    auto_close = "86400s"
  }

  depends_on = [google_project_service.this]
}

# Figures that stop coming would leave the alert on freshness blind.
resource "google_monitoring_alert_policy" "figures_absent" {
  count = local.runs_figures ? 1 : 0

  display_name          = "AMI: figures of the grid no longer come"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.alert_channels

  conditions {
    display_name = "No figures for half an hour"

    condition_absent {
      filter   = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.figures["ami_marts_age_s"].name}\" AND resource.type=\"cloud_run_job\""
      duration = "1800s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_COUNT"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The job ami-figures does not run, fails, or no mart is built yet: gcloud run jobs executions list --job ami-figures --region ${var.region}."
  }
}
