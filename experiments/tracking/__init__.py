"""Tracked runs and registered models; the only place that knows MLflow. Begin with `experiments.tracking.tracker`."""
