"""Who runs what, and when: feasibility, capacity, pricing, choice of bid. Pure."""
