"""The tests of flwr-telemetry."""
