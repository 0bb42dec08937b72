"""The auction, from both sides: what a provider can do and asks, what a requester chooses."""
