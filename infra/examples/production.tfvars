# A utility's own project: nothing expires, nothing is deleted by mistake. Members and addresses
# are examples; project_id comes from the command line.
environment         = "production"
deletion_protection = true

message_retention_hours  = 168
enable_pull_subscription = true
max_delivery_attempts    = 10

archive_keep_days     = 2555 # seven years
archive_nearline_days = 90
archive_restore_days  = 30
archive_minutes       = 5

dataflow_machine_type = "n2-standard-4"
dataflow_max_workers  = 10

bigquery_maximum_bytes_billed = 536870912000 # 500 GiB

api_invokers      = ["group:grid-operators@example.com"]
api_min_instances = 1
api_max_instances = 4

operators            = ["group:ami-operators@example.com"]
orchestrator         = "dagster_vm"
dagster_machine_type = "e2-standard-4"
dagster_disk_gb      = 50

alert_emails    = ["ami-alerts@example.com"]
billing_account = "012345-6789AB-CDEF01"
budget_amount   = 5000
