"""What reviewers see first of a comparison in MLflow."""
