"""Readers of annotation formats: files -> :class:`ssd_jax.data.records.Reading`, one module a format."""
