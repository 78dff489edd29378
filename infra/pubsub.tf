# The contract as Pub/Sub checks it, one reading a message; batches and Arrow are checked by the
# ingest alone.
resource "google_pubsub_schema" "reading" {
  count = var.enable_topic_schema ? 1 : 0

  name       = "ami-reading"
  type       = "PROTOCOL_BUFFER"
  definition = file("${path.module}/../ami_contract/generated/reading.proto")

  depends_on = [google_project_service.this]
}

resource "google_pubsub_topic" "readings" {
  # checkov:skip=CKV_GCP_83: Google's keys encrypt it; a key of one's own is a decision on cost and outage (docs/security.md)
  name = var.pubsub_topic

  # Readings of households do not leave the region.
  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  dynamic "schema_settings" {
    for_each = google_pubsub_schema.reading

    content {
      schema   = schema_settings.value.id
      encoding = "JSON"
    }
  }

  depends_on = [google_project_service.this]
}

# Dataflow deduplicates redelivered messages by itself and writes dead letters itself: neither
# exactly-once delivery nor a dead-letter policy works together with it.
resource "google_pubsub_subscription" "ingest" {
  name                         = var.pubsub_subscription
  topic                        = google_pubsub_topic.readings.id
  ack_deadline_seconds         = var.ack_deadline_seconds
  message_retention_duration   = "${var.message_retention_hours * 3600}s"
  retain_acked_messages        = false
  enable_exactly_once_delivery = false
  enable_message_ordering      = false

  # It stays, however long the job is away.
  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic" "dead_letter" {
  # checkov:skip=CKV_GCP_83: Google's keys encrypt it; a key of one's own is a decision on cost and outage (docs/security.md)
  count = var.enable_dead_letter ? 1 : 0

  name = var.dlq_topic

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.this]
}

# Keeps dead letters until somebody looks at them.
resource "google_pubsub_subscription" "dead_letter" {
  count = var.enable_dead_letter ? 1 : 0

  name                       = "${var.dlq_topic}-sub"
  topic                      = google_pubsub_topic.dead_letter[0].id
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

# For consumers other than Dataflow.
resource "google_pubsub_subscription" "pull" {
  count = var.enable_pull_subscription ? 1 : 0

  name                       = "${var.pubsub_topic}-pull"
  topic                      = google_pubsub_topic.readings.id
  ack_deadline_seconds       = var.ack_deadline_seconds
  message_retention_duration = "${var.message_retention_hours * 3600}s"

  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "60s"
  }

  dynamic "dead_letter_policy" {
    for_each = google_pubsub_topic.dead_letter

    content {
      dead_letter_topic     = dead_letter_policy.value.id
      max_delivery_attempts = var.max_delivery_attempts
    }
  }
}
