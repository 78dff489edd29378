"""Reads gRPC calls of Google's Pub/Sub clients; gives durable Pub/Sub without a Google project."""
