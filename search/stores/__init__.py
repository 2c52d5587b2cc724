"""MLflow's and Optuna's stores: reached, prepared, written to and shown."""
