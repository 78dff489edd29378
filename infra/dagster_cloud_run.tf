# Dagster on Cloud Run with Cloud SQL (orchestrator = "dagster_cloud_run"): no machine to keep, at a
# higher price. One container holds code server, webserver and daemon, because run monitoring looks
# for the processes of runs by their ids.

resource "google_compute_global_address" "sql" {
  count = local.hosts_dagster_on_cloud_run ? 1 : 0

  name          = "ami-sql"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
  network       = google_compute_network.this.id
}

resource "google_service_networking_connection" "sql" {
  count = local.hosts_dagster_on_cloud_run ? 1 : 0

  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.sql[0].name]
  # Google refuses to take it away for days after the last database; the network goes all the same.
  deletion_policy = "ABANDON"
}

resource "google_sql_database_instance" "dagster" {
  # checkov:skip=CKV_GCP_79: PostgreSQL 17 is what the tests run Dagster on
  count = local.hosts_dagster_on_cloud_run ? 1 : 0

  name                = var.dagster_sql_name
  database_version    = "POSTGRES_17"
  region              = var.region
  deletion_protection = var.deletion_protection

  settings {
    tier                        = var.sql_tier
    edition                     = "ENTERPRISE"
    availability_type           = "ZONAL"
    disk_size                   = 10
    disk_autoresize             = true
    deletion_protection_enabled = var.deletion_protection

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.this.id
      # Cloud Run's connection to Cloud SQL brings such a certificate.
      ssl_mode = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    }

    backup_configuration {
      enabled                        = true
      start_time                     = "03:00"
      point_in_time_recovery_enabled = true
    }

    database_flags {
      name  = "cloudsql.enable_pgaudit"
      value = "on"
    }

    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }

    database_flags {
      name  = "log_connections"
      value = "on"
    }

    database_flags {
      name  = "log_disconnections"
      value = "on"
    }

    database_flags {
      name  = "log_duration"
      value = "on"
    }

    database_flags {
      name  = "log_hostname"
      value = "on"
    }

    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }

    database_flags {
      name  = "log_min_duration_statement"
      value = "-1"
    }

    database_flags {
      name  = "log_min_error_statement"
      value = "error"
    }

    database_flags {
      name  = "log_min_messages"
      value = "error"
    }

    database_flags {
      name  = "log_statement"
      value = "ddl"
    }

    database_flags {
      name  = "log_temp_files"
      value = "0"
    }
  }

  depends_on = [google_service_networking_connection.sql]
}

# The user and its password are made by scripts/60_deploy_dagster.sh, so that no password is in
# Terraform's state.
resource "google_sql_database" "dagster" {
  count = local.hosts_dagster_on_cloud_run ? 1 : 0

  name     = "dagster"
  instance = google_sql_database_instance.dagster[0].name
}

resource "google_cloud_run_v2_service" "dagster" {
  count = local.hosts_dagster_on_cloud_run && var.dagster_image != "" ? 1 : 0

  name                = "ami-dagster"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = var.deletion_protection

  template {
    service_account       = google_service_account.dagster.email
    timeout               = "3600s"
    session_affinity      = true
    execution_environment = "EXECUTION_ENVIRONMENT_GEN2"

    # Exactly one: two daemons would both start what is due.
    scaling {
      min_instance_count = 1
      max_instance_count = 1
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"

      network_interfaces {
        network    = google_compute_network.this.id
        subnetwork = google_compute_subnetwork.this.id
      }
    }

    volumes {
      name = "cloudsql"

      cloud_sql_instance {
        instances = [google_sql_database_instance.dagster[0].connection_name]
      }
    }

    containers {
      name  = "dagster"
      image = var.dagster_image
      # When one part ends, all do, and Cloud Run starts the container anew.
      command = ["bash", "-c"]
      args = [join(" ", [
        "trap 'kill $(jobs -p); wait' EXIT;",
        "ami dagster code-server & ami dagster webserver --host 0.0.0.0 & ami dagster daemon &",
        "wait -n; exit 1",
      ])]

      ports {
        container_port = 3000
      }

      # Schedules run between requests.
      resources {
        limits   = { cpu = "2", memory = "4Gi" }
        cpu_idle = false
      }

      volume_mounts {
        name       = "cloudsql"
        mount_path = "/cloudsql"
      }

      dynamic "env" {
        for_each = merge(local.dagster_environment, {
          AMI_DAGSTER_PORT       = "3000"
          AMI_DAGSTER_LOG_BUCKET = google_storage_bucket.artifacts.name
        })

        content {
          name  = env.key
          value = env.value
        }
      }

      env {
        name = "AMI_DAGSTER_POSTGRES_URL"

        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.dagster_database_url[0].secret_id
            version = "latest"
          }
        }
      }

      startup_probe {
        period_seconds    = 10
        failure_threshold = 30
        timeout_seconds   = 5

        http_get {
          path = "/server_info"
          port = 3000
        }
      }
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.dagster_reads_database_url,
    google_project_iam_member.dagster_connects_to_sql,
    google_sql_database.dagster,
  ]
}
