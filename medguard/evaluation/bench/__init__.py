"""Offline benchmarking: models answer suites of requests, judges score the answers, guards stand between."""
