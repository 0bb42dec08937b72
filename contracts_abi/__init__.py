"""What this release knows of the contracts: artifacts, manifest, and generated typed bindings."""
