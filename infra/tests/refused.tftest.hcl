# Values that variables refuse.
mock_provider "google" {}

variables {
  project_id = "demo-project"
}

run "public_invokers" {
  command         = plan
  expect_failures = [var.api_invokers]

  variables {
    api_invokers = ["allUsers"]
  }
}

run "public_operators" {
  command         = plan
  expect_failures = [var.operators]

  variables {
    operators = ["allAuthenticatedUsers"]
  }
}

run "secrets_in_settings" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = { AMI_ALERT_SLACK_TOKEN = "xoxb-1" }
  }
}

run "expiry_in_production" {
  command         = plan
  expect_failures = [var.bq_expiry_days]

  variables {
    environment    = "production"
    bq_expiry_days = 30
  }
}

run "numbers_out_of_range" {
  command = plan
  expect_failures = [
    var.ack_deadline_seconds, var.message_retention_hours, var.max_delivery_attempts,
    var.dataflow_max_workers, var.archive_minutes, var.archive_restore_days, var.backlog_age_limit_s,
    var.lag_limit_s, var.budget_amount, var.window_seconds,
  ]

  variables {
    ack_deadline_seconds    = 5
    message_retention_hours = 0
    max_delivery_attempts   = 4
    dataflow_max_workers    = 0
    archive_minutes         = 2
    archive_restore_days    = 5
    backlog_age_limit_s     = 10
    lag_limit_s             = 10
    budget_amount           = 0.5
    window_seconds          = 1.5
  }
}

run "texts_of_another_form" {
  command = plan
  expect_failures = [
    var.project_id, var.region, var.bq_write_method, var.orchestrator, var.billing_account,
    var.first_day, var.dagster_release, var.environment,
  ]

  variables {
    project_id      = "Demo"
    region          = "Mars"
    bq_write_method = "insert"
    orchestrator    = "cron"
    billing_account = "123"
    first_day       = "2026-13-01"
    dagster_release = "release.tar.gz"
    environment     = "prod"
  }
}

run "one_name_for_two_topics" {
  command         = plan
  expect_failures = [var.dlq_topic]

  variables {
    dlq_topic = "ami-meter-data"
  }
}
