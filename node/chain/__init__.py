"""What a node knows of EVM chains, and what it does on them."""
