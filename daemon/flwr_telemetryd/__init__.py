"""The sidecar and the command for people."""
