"""Registry, lake and warehouse: the places readings rest in, read and written the same way by all.

Writes are atomic (temporary file, fsync, rename) and idempotent; readers never meet a half-written
or missing file.
"""
