"""Tracked runs and registered models; the only place that knows MLflow."""
