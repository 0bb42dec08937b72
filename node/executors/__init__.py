"""Running one job in a sandbox: the port, and the Docker engine behind it."""
