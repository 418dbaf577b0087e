"""How any process of the suite lives: settings file, service runner, sd_notify, logging, child processes, D-Bus."""
