"""What logs say: templates, rules, bursts; read from the journal and from files."""
