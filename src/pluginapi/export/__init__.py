"""Give what is known of plugins to other systems: Prometheus, OpenTelemetry, a log of security."""
