"""Generated contract ABIs, bytecode, manifest and typed bindings."""
