"""The sidecar `flwr-telemetryd` and the command `flwr-telemetry`."""
