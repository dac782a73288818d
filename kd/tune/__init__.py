"""Choice of settings on held-out images: trials that are ordinary runs, proposed by Optuna."""
