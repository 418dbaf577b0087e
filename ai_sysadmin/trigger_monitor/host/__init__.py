"""What the host and the operator's probes measure: samples, thresholds, forecasts, baselines."""
