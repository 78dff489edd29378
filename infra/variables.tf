# Where

variable "project_id" {
  description = "Google Cloud project that everything is made in; billing must be on."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "A project id has 6 to 30 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "region" {
  description = "Region of the Dataflow job, Cloud Run, machines and buckets."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region is written like us-central1."
  }
}

variable "zone" {
  description = "Zone of the machines; empty: the region's zone a."
  type        = string
  default     = ""

  validation {
    condition     = var.zone == "" || startswith(var.zone, "${var.region}-")
    error_message = "The zone must lie in the region."
  }
}

variable "bigquery_location" {
  description = "Location of the BigQuery dataset, a region or a multi-region that holds the region."
  type        = string
  default     = "US"

  validation {
    condition     = can(regex("^(US|EU|[a-z]+-[a-z]+[0-9]+)$", var.bigquery_location))
    error_message = "A location is US, EU or a region like us-central1."
  }
}

variable "environment" {
  description = "Label of everything that is made: what it is for."
  type        = string
  default     = "demo"

  validation {
    condition     = contains(["demo", "staging", "production"], var.environment)
    error_message = "The environment is demo, staging or production."
  }
}

variable "labels" {
  description = "Labels of everything that is made, beside platform and environment."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "Labels have lower-case letters, digits, hyphens and underscores."
  }
}

variable "settings" {
  description = "Further settings (.env.example) for API, jobs and Dagster, such as AMI_SILENT_WARN_S; those that Terraform sets itself stay."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, _ in var.settings : can(regex("^AMI_[A-Z0-9_]+$", name)) && !can(regex("_(KEYS?|PASSWORD|TOKEN|URL)$", name))])
    error_message = "Names of settings are meant, and none of a secret: it would stand in Terraform's state."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete tables, databases and what buckets and the dataset hold."
  type        = bool
  default     = true
}

variable "deployer_service_account" {
  description = "Service account that Terraform acts as; empty: your own rights."
  type        = string
  default     = ""

  validation {
    condition     = var.deployer_service_account == "" || endswith(var.deployer_service_account, ".iam.gserviceaccount.com")
    error_message = "A service account is written NAME@PROJECT.iam.gserviceaccount.com."
  }
}

# Buckets

variable "artifact_bucket_name" {
  description = "Bucket of what Dataflow stages, of builds and releases; empty: ami-artifacts-PROJECT."
  type        = string
  default     = ""

  validation {
    condition     = var.artifact_bucket_name == "" || can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", var.artifact_bucket_name))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, hyphens and underscores."
  }
}

variable "raw_archive_bucket_name" {
  description = "Bucket of the raw archive; empty: ami-raw-archive-PROJECT."
  type        = string
  default     = ""

  validation {
    condition     = var.raw_archive_bucket_name == "" || can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", var.raw_archive_bucket_name))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, hyphens and underscores."
  }
}

variable "artifact_keep_days" {
  description = "Days that staged files are kept; longer than a streaming job runs without an update, because its new workers fetch them."
  type        = number
  default     = 365

  validation {
    condition     = var.artifact_keep_days >= 30
    error_message = "Staged files of a running job are needed for 30 days at least."
  }
}

variable "archive_keep_days" {
  description = "Days that the raw archive and its dead letters are kept; 0: for ever."
  type        = number
  default     = 0

  validation {
    condition     = var.archive_keep_days >= 0 && floor(var.archive_keep_days) == var.archive_keep_days
    error_message = "Whole days are meant; 0 keeps for ever."
  }
}

variable "archive_nearline_days" {
  description = "Days after which archived files move to the class Nearline; 0: never (a move costs an operation per file)."
  type        = number
  default     = 0

  validation {
    condition     = var.archive_nearline_days >= 0 && floor(var.archive_nearline_days) == var.archive_nearline_days
    error_message = "Whole days are meant; 0 never moves."
  }
}

variable "archive_restore_days" {
  description = "Days in which a deleted or overwritten archived file can be restored."
  type        = number
  default     = 7

  validation {
    condition     = var.archive_restore_days >= 7 && var.archive_restore_days <= 90
    error_message = "Cloud Storage keeps deleted objects for 7 to 90 days."
  }
}

# Pub/Sub

variable "pubsub_topic" {
  description = "Topic of the readings."
  type        = string
  default     = "ami-meter-data"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.pubsub_topic)) && !startswith(var.pubsub_topic, "goog")
    error_message = "A topic's name has 3 to 255 characters and starts with a letter, not with goog."
  }
}

variable "pubsub_subscription" {
  description = "Subscription that the Dataflow job reads."
  type        = string
  default     = "ami-meter-data-sub"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.pubsub_subscription)) && !startswith(var.pubsub_subscription, "goog")
    error_message = "A subscription's name has 3 to 255 characters and starts with a letter, not with goog."
  }
}

variable "ack_deadline_seconds" {
  description = "Seconds in which a message must be acknowledged; Dataflow extends it by itself."
  type        = number
  default     = 60

  validation {
    condition     = var.ack_deadline_seconds >= 10 && var.ack_deadline_seconds <= 600
    error_message = "Pub/Sub takes 10 to 600 seconds."
  }
}

variable "message_retention_hours" {
  description = "Hours that a message waits for the ingest before it is lost."
  type        = number
  default     = 24

  validation {
    condition     = var.message_retention_hours >= 1 && var.message_retention_hours <= 744
    error_message = "Pub/Sub keeps messages for 1 to 744 hours (31 days)."
  }
}

variable "enable_dead_letter" {
  description = "Whether there are a dead-letter topic and its subscription; without them refused readings become files in the archive's bucket."
  type        = bool
  default     = true
}

variable "dlq_topic" {
  description = "Topic of the dead letters."
  type        = string
  default     = "ami-meter-data-dlq"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.dlq_topic)) && var.dlq_topic != var.pubsub_topic
    error_message = "A topic's name has 3 to 255 characters, starts with a letter and is not that of the readings."
  }
}

variable "enable_pull_subscription" {
  description = "Whether other consumers get a pull subscription of their own; what nobody pulls there is paid for until it expires."
  type        = bool
  default     = false
}

variable "max_delivery_attempts" {
  description = "Attempts after which a message of the pull subscription becomes a dead letter."
  type        = number
  default     = 5

  validation {
    condition     = var.max_delivery_attempts >= 5 && var.max_delivery_attempts <= 100
    error_message = "Pub/Sub takes 5 to 100 attempts."
  }
}

variable "enable_topic_schema" {
  description = "Whether Pub/Sub refuses what is no reading as JSON; only for gateways with publish_mode single and payload json."
  type        = bool
  default     = false
}

# BigQuery

variable "bq_dataset" {
  description = "Dataset of the stored readings and of all that dbt builds."
  type        = string
  default     = "smart_grid_analytics"

  validation {
    condition     = can(regex("^[A-Za-z0-9_]+$", var.bq_dataset)) && length(var.bq_dataset) <= 1024
    error_message = "A dataset's name has letters, digits and underscores."
  }
}

variable "bq_expiry_days" {
  description = "Days after which BigQuery deletes tables and partitions, for demos only; 0: never."
  type        = number
  default     = 0

  validation {
    condition     = var.bq_expiry_days >= 0 && floor(var.bq_expiry_days) == var.bq_expiry_days
    error_message = "Whole days are meant; 0 never deletes."
  }

  validation {
    condition     = var.bq_expiry_days == 0 || var.environment != "production"
    error_message = "Marts are made from the readings and would lose the days that expire: in production bq_expiry_days is 0."
  }
}

variable "bigquery_maximum_bytes_billed" {
  description = "A query of the platform that would bill more bytes fails."
  type        = number
  default     = 107374182400

  validation {
    condition     = var.bigquery_maximum_bytes_billed >= 10485760
    error_message = "BigQuery bills 10 MiB (10485760 bytes) at least."
  }
}

variable "first_day" {
  description = "First UTC day of the readings, YYYY-MM-DD; Dagster's partitions start there."
  type        = string
  default     = "2026-01-01"

  validation {
    condition     = can(formatdate("YYYY-MM-DD", "${var.first_day}T00:00:00Z"))
    error_message = "A day is written 2026-01-01."
  }
}

# Dataflow

variable "dataflow_job_name" {
  description = "Name of the streaming job."
  type        = string
  default     = "ami-ingest"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.dataflow_job_name))
    error_message = "A job's name has lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "dataflow_machine_type" {
  description = "Machine type of the workers."
  type        = string
  default     = "e2-standard-2"
}

variable "dataflow_max_workers" {
  description = "Most workers at a time: the largest lever on what ingest costs."
  type        = number
  default     = 2

  validation {
    condition     = var.dataflow_max_workers >= 1 && var.dataflow_max_workers <= 1000
    error_message = "Dataflow takes 1 to 1000 workers."
  }
}

variable "bq_write_method" {
  description = "How rows get into BigQuery: storage_write_api, streaming_inserts or file_loads."
  type        = string
  default     = "storage_write_api"

  validation {
    condition     = contains(["storage_write_api", "streaming_inserts", "file_loads"], var.bq_write_method)
    error_message = "The write method is storage_write_api, streaming_inserts or file_loads."
  }
}

variable "archive_minutes" {
  description = "Minutes of event_ts in one file of the archive, 1 or 5."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 5], var.archive_minutes)
    error_message = "An archive file holds 1 or 5 minutes."
  }
}

variable "window_seconds" {
  description = "Seconds of the provisional aggregates per pole; 0: none."
  type        = number
  default     = 60

  validation {
    condition     = var.window_seconds >= 0 && floor(var.window_seconds) == var.window_seconds
    error_message = "Whole seconds are meant; 0 writes none."
  }
}

# What scripts deploy; empty until then

variable "api_image" {
  description = "Image of API, dashboard and figures; empty: none of them runs. scripts/50_deploy_api.sh sets it."
  type        = string
  default     = ""
}

variable "dagster_image" {
  description = "Image of Dagster or of dbt on Cloud Run; empty: none runs. scripts/60_deploy_dagster.sh sets it."
  type        = string
  default     = ""
}

variable "dagster_release" {
  description = "gs:// address of the source that the Dagster host installs; empty: there is no host. scripts/60_deploy_dagster.sh sets it."
  type        = string
  default     = ""

  validation {
    condition     = var.dagster_release == "" || can(regex("^gs://.+/releases/.+\\.tar\\.gz$", var.dagster_release))
    error_message = "A release is gs://BUCKET/releases/NAME.tar.gz."
  }
}

variable "edge_release" {
  description = "gs:// address of the source that the edge installs; empty: there is no edge. scripts/20_run_edge.sh sets it."
  type        = string
  default     = ""

  validation {
    condition     = var.edge_release == "" || can(regex("^gs://.+/releases/.+\\.tar\\.gz$", var.edge_release))
    error_message = "A release is gs://BUCKET/releases/NAME.tar.gz."
  }
}

# API and dashboard

variable "api_invokers" {
  description = "Who may call API and dashboard: user:, group: or serviceAccount: members."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.api_invokers : can(regex("^(user|group|serviceAccount):[^@]+@.+$", member))])
    error_message = "Members are user:, group: or serviceAccount: with an address; the public is never let in."
  }
}

variable "api_min_instances" {
  description = "Instances of the API that always run; 0: the first request of a quiet hour waits for a start."
  type        = number
  default     = 0

  validation {
    condition     = var.api_min_instances >= 0 && var.api_min_instances <= var.api_max_instances
    error_message = "No fewer than 0 and no more than api_max_instances."
  }
}

variable "api_max_instances" {
  description = "Most instances of the API, and of the dashboard."
  type        = number
  default     = 2

  validation {
    condition     = var.api_max_instances >= 1 && var.api_max_instances <= 100
    error_message = "1 to 100 instances are meant."
  }
}

# Orchestration

variable "orchestrator" {
  description = "What builds the marts: dagster_vm, dagster_cloud_run, cloud_scheduler (dbt alone) or none. There is one writer, so there is one choice."
  type        = string
  default     = "dagster_vm"

  validation {
    condition     = contains(["dagster_vm", "dagster_cloud_run", "cloud_scheduler", "none"], var.orchestrator)
    error_message = "The orchestrator is dagster_vm, dagster_cloud_run, cloud_scheduler or none."
  }
}

variable "operators" {
  description = "Who may reach Dagster through Google's identity-aware proxy and act as dagster-sa: user: or group: members."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(user|group):[^@]+@.+$", member))])
    error_message = "Members are user: or group: with an address."
  }
}

variable "dagster_machine_type" {
  description = "Machine type of the Dagster host."
  type        = string
  default     = "e2-standard-2"
}

variable "dagster_disk_gb" {
  description = "Size of the disk that keeps Dagster's runs, in GB."
  type        = number
  default     = 20

  validation {
    condition     = var.dagster_disk_gb >= 10
    error_message = "10 GB is the least disk."
  }
}

variable "dagster_keep_runs_days" {
  description = "Days that Dagster keeps ended runs; 0: for ever."
  type        = number
  default     = 30

  validation {
    condition     = var.dagster_keep_runs_days >= 0
    error_message = "0 or more days are meant."
  }
}

variable "dagster_sql_name" {
  description = "Name of the Cloud SQL instance behind Dagster on Cloud Run; Google keeps a deleted name for a week."
  type        = string
  default     = "ami-dagster"

  validation {
    condition     = can(regex("^ami-[a-z0-9-]{1,80}$", var.dagster_sql_name))
    error_message = "A name starts with ami- and has lower-case letters, digits and hyphens."
  }
}

variable "sql_tier" {
  description = "Machine tier of the PostgreSQL behind Dagster on Cloud Run."
  type        = string
  default     = "db-g1-small"
}

variable "dbt_interval_minutes" {
  description = "Minutes between two builds with orchestrator cloud_scheduler; a build that takes longer is stopped."
  type        = number
  default     = 60

  validation {
    condition     = contains([15, 20, 30, 60], var.dbt_interval_minutes)
    error_message = "15, 20, 30 or 60 minutes are meant."
  }
}

# Edge

variable "enable_edge_vm" {
  description = "Whether a small machine plays meters and gateways. scripts/20_run_edge.sh sets it."
  type        = bool
  default     = false
}

variable "edge_machine_type" {
  description = "Machine type of the edge."
  type        = string
  default     = "e2-small"
}

variable "edge_config" {
  description = "Simulation that the edge runs: a file of simulator/configs without its extension."
  type        = string
  default     = "demo"

  validation {
    condition     = fileexists("${path.module}/../simulator/configs/${var.edge_config}.yaml")
    error_message = "There is no such file in simulator/configs."
  }
}

variable "edge_impersonators" {
  description = "Who may publish as edge-device-sa from elsewhere, without a key: user:, group: or serviceAccount: members."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.edge_impersonators : can(regex("^(user|group|serviceAccount):[^@]+@.+$", member))])
    error_message = "Members are user:, group: or serviceAccount: with an address."
  }
}

# Network

variable "subnetwork_cidr" {
  description = "Private addresses of workers and machines."
  type        = string
  default     = "10.20.0.0/22"

  validation {
    condition     = can(cidrhost(var.subnetwork_cidr, 1)) && can(regex("^(10|172|192)\\.", var.subnetwork_cidr))
    error_message = "A private range like 10.20.0.0/22 is meant."
  }
}

# Monitoring

variable "alert_emails" {
  description = "Addresses that alerts are sent to."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "E-mail addresses are meant."
  }
}

variable "backlog_age_limit_s" {
  description = "A message that waits longer for the ingest alerts, in seconds."
  type        = number
  default     = 300

  validation {
    condition     = var.backlog_age_limit_s >= 60
    error_message = "60 seconds or more are meant: the metric comes by the minute."
  }
}

variable "lag_limit_s" {
  description = "A longer system lag of the Dataflow job alerts, in seconds."
  type        = number
  default     = 600

  validation {
    condition     = var.lag_limit_s >= 60
    error_message = "60 seconds or more are meant: the metric comes by the minute."
  }
}

variable "freshness_limit_s" {
  description = "Newest readings of the marts that are older alert, in seconds."
  type        = number
  default     = 7200

  validation {
    condition     = var.freshness_limit_s >= 600
    error_message = "600 seconds or more are meant: figures come every five minutes."
  }
}

variable "dead_letters_limit_per_hour" {
  description = "More dead letters in an hour alert."
  type        = number
  default     = 100

  validation {
    condition     = var.dead_letters_limit_per_hour >= 0
    error_message = "0 or more are meant."
  }
}

variable "api_error_limit_per_min" {
  description = "More server errors of the API a minute, over five minutes, alert."
  type        = number
  default     = 1

  validation {
    condition     = var.api_error_limit_per_min >= 0
    error_message = "0 or more are meant."
  }
}

# Budget

variable "billing_account" {
  description = "Billing account of the budget, XXXXXX-XXXXXX-XXXXXX; empty: no budget alert."
  type        = string
  default     = ""

  validation {
    condition     = var.billing_account == "" || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "A billing account is written 012345-6789AB-CDEF01."
  }
}

variable "budget_amount" {
  description = "Budget of a month, in whole units of budget_currency; mails at 50, 90 and 100 % and when 100 % is forecast. It stops nothing."
  type        = number
  default     = 100

  validation {
    condition     = var.budget_amount >= 1 && floor(var.budget_amount) == var.budget_amount
    error_message = "A whole amount of 1 or more is meant."
  }
}

variable "budget_currency" {
  description = "Currency of the billing account."
  type        = string
  default     = "USD"

  validation {
    condition     = can(regex("^[A-Z]{3}$", var.budget_currency))
    error_message = "Three capital letters like USD are meant."
  }
}
