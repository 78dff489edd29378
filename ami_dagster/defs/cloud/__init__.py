"""On Google Cloud: Dataflow in place of `ami ingest`, BigQuery in place of the lake."""
