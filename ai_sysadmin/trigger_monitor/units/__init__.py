"""What systemd says of its units: failures confirmed, their roots found, boots and switches waited out."""
