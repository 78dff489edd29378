# What runs once scripts have deployed it.
mock_provider "google" {}

variables {
  project_id      = "demo-project"
  api_image       = "us-central1-docker.pkg.dev/demo-project/ami/platform@sha256:0"
  dagster_image   = "us-central1-docker.pkg.dev/demo-project/ami/platform@sha256:0"
  dagster_release = "gs://ami-artifacts-demo-project/releases/ami-1.tar.gz"
  edge_release    = "gs://ami-artifacts-demo-project/releases/ami-1.tar.gz"
  api_invokers    = ["group:grid@example.com"]
  operators       = ["user:ann@example.com"]
  alert_emails    = ["a@example.com", "b@example.com"]
  billing_account = "012345-6789AB-CDEF01"
}

run "machines_have_no_public_address" {
  command = plan

  variables {
    enable_edge_vm = true
  }

  assert {
    condition     = alltrue([for machine in concat(google_compute_instance.dagster, google_compute_instance.edge) : length(machine.network_interface[0].access_config) == 0 && machine.shielded_instance_config[0].enable_secure_boot && machine.metadata["enable-oslogin"] == "TRUE"])
    error_message = "a machine is reachable from outside, or boots what is not signed"
  }
  assert {
    condition     = google_compute_firewall.iap_ssh.source_ranges == toset(["35.235.240.0/20"])
    error_message = "only Google's identity-aware proxy reaches port 22"
  }
}

run "only_named_people_call_the_api" {
  command = plan

  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.invokers_call_api) == ["group:grid@example.com"] && keys(google_cloud_run_v2_service_iam_member.invokers_open_dashboard) == ["group:grid@example.com"]
    error_message = "others may call the API or open the dashboard"
  }
  assert {
    condition     = contains([for env in google_cloud_run_v2_service.api[0].template[0].containers[0].env : env.name], "AMI_API_KEYS")
    error_message = "the API has no key of its own"
  }
}

run "a_budget_mails_at_most_five" {
  command = plan

  assert {
    condition     = length(google_billing_budget.this[0].threshold_rules) == 4 && google_billing_budget.this[0].amount[0].specified_amount[0].units == "100"
    error_message = "the budget has other thresholds"
  }
}

run "dagster_on_a_machine" {
  command = plan

  assert {
    condition     = length(google_compute_instance.dagster) == 1 && length(google_cloud_run_v2_service.dagster) == 0 && !contains(keys(google_cloud_run_v2_job.timed), "dbt")
    error_message = "there is one writer of the marts"
  }
}

run "dagster_on_cloud_run" {
  command = plan

  variables {
    orchestrator = "dagster_cloud_run"
  }

  assert {
    condition     = length(google_compute_instance.dagster) == 0 && length(google_cloud_run_v2_service.dagster) == 1 && !contains(keys(google_cloud_run_v2_job.timed), "dbt")
    error_message = "there is one writer of the marts"
  }
  assert {
    condition     = google_cloud_run_v2_service.dagster[0].template[0].scaling[0].min_instance_count == 1 && google_cloud_run_v2_service.dagster[0].template[0].scaling[0].max_instance_count == 1
    error_message = "two daemons would both start what is due"
  }
  assert {
    condition     = !google_sql_database_instance.dagster[0].settings[0].ip_configuration[0].ipv4_enabled
    error_message = "the database has a public address"
  }
}

run "dbt_by_cloud_scheduler" {
  command = plan

  variables {
    orchestrator = "cloud_scheduler"
  }

  assert {
    condition     = length(google_compute_instance.dagster) == 0 && length(google_cloud_run_v2_service.dagster) == 0 && google_cloud_scheduler_job.timed["dbt"].schedule == "8 * * * *"
    error_message = "there is one writer of the marts"
  }
  assert {
    condition     = google_cloud_run_v2_job.timed["dbt"].template[0].template[0].timeout == "3540s"
    error_message = "a build must have ended before the next starts"
  }
}

run "topic_schema_and_pull_subscription_on_request" {
  command = plan

  variables {
    enable_topic_schema      = true
    enable_pull_subscription = true
    max_delivery_attempts    = 7
  }

  assert {
    condition     = google_pubsub_topic.readings.schema_settings[0].encoding == "JSON" && google_pubsub_subscription.pull[0].dead_letter_policy[0].max_delivery_attempts == 7
    error_message = "schema or pull subscription are not as asked for"
  }
}

run "without_dead_letter_topic" {
  command = plan

  variables {
    enable_dead_letter = false
  }

  assert {
    condition     = length(google_pubsub_topic.dead_letter) == 0 && !contains(keys(output.dataflow_options), "dlq_topic") && output.dlq_topic == ""
    error_message = "dead letters become files then"
  }
}
