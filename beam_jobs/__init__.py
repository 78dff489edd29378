"""The ingest: Pub/Sub messages become archived, landed or dead-lettered readings.

One Beam graph (`pipeline.Ingest`) serves the local micro-batch loop (`local`), imports
(`importer`) and, later, Dataflow and replays.
"""
