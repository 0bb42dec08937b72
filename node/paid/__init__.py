"""Every transaction that moves money: of deals, and of the wallet."""
