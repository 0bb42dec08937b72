"""What a wallet has in a network, found from its address and the chain alone: for a machine that is lost."""
