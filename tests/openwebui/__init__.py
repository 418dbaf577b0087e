"""The real Open WebUI in a real browser; `tools/test-openwebui` sets it up and runs these."""
