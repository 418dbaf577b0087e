"""What the command line asks for below ``/v1/system``, and the alerts that come in."""
