# Log-based metrics. Those of the grid read the lines that `ami figures` prints (timed_jobs.tf); the
# mean of the extracted values is exact, buckets only shape heat maps.

locals {
  figures = {
    ami_pole_voltage_v = {
      of          = "pole"
      field       = "mean_voltage_v"
      unit        = "V"
      description = "Mean voltage of a pole in its newest hour."
    }
    ami_pole_health = {
      of          = "pole"
      field       = "health_score"
      unit        = "1"
      description = "Health score of a pole in its newest hour, 0 to 100."
    }
    ami_active_meters = {
      of          = "fleet"
      field       = "active_meters"
      unit        = "1"
      description = "Meters with a reading in the newest hour of their pole."
    }
    ami_sag_events = {
      of          = "fleet"
      field       = "sag_events_last_hour"
      unit        = "1"
      description = "Low-voltage events that started in the last hour."
    }
    ami_marts_age_s = {
      of          = "fleet"
      field       = "newest_reading_age_s"
      unit        = "s"
      description = "Age of the newest reading that the marts know."
    }
  }
}

resource "google_logging_metric" "figures" {
  for_each = local.figures

  name            = each.key
  description     = each.value.description
  filter          = "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"ami-figures\" AND jsonPayload.figure=\"${each.value.of}\" AND jsonPayload.${each.value.field}>=0"
  value_extractor = "EXTRACT(jsonPayload.${each.value.field})"

  label_extractors = each.value.of == "pole" ? { pole_id = "EXTRACT(jsonPayload.pole_id)" } : {}

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "DISTRIBUTION"
    unit         = each.value.unit
    display_name = each.value.description

    dynamic "labels" {
      for_each = each.value.of == "pole" ? ["pole_id"] : []

      content {
        key         = labels.value
        value_type  = "STRING"
        description = "Pole."
      }
    }
  }

  bucket_options {
    exponential_buckets {
      num_finite_buckets = 64
      growth_factor      = 1.25
      scale              = 0.01
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_logging_metric" "ingest_errors" {
  name        = "ami_ingest_errors"
  description = "Errors that workers of the Dataflow job log."
  filter      = "resource.type=\"dataflow_step\" AND resource.labels.job_name=\"${var.dataflow_job_name}\" AND severity>=ERROR"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }

  depends_on = [google_project_service.this]
}
