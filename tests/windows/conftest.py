"""These tests need Windows, or Wine: `.ci/wine` runs them."""

from flwr_telemetry import system

collect_ignore_glob = [] if system.WINDOWS else ["test_*.py"]
