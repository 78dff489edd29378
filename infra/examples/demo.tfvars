# A demonstration of an hour or a day: as cheap as it gets, nothing survives it.
# project_id comes from the command line.
environment         = "demo"
deletion_protection = false

message_retention_hours = 24
bq_expiry_days          = 14
archive_keep_days       = 14

dataflow_max_workers  = 1
dataflow_machine_type = "e2-standard-2"
archive_minutes       = 5

bigquery_maximum_bytes_billed = 21474836480 # 20 GiB

api_min_instances    = 0
api_max_instances    = 1
orchestrator         = "dagster_vm"
dagster_machine_type = "e2-standard-2"

budget_amount = 50
