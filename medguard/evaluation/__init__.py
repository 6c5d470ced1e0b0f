"""Offline evaluation: datasets and metrics. Nothing here is imported by the guard itself."""
