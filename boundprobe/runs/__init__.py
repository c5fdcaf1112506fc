"""Run directories: configuration, manifest, metrics, result."""
