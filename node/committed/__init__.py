"""Results and receipts on their way to whom they belong."""
