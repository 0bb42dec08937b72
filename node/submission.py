"""From a user's job file to a demand: inputs taken in, image pinned, spec, terms, and who may fetch what."""
