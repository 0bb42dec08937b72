"""What a job runs in: pinned names, archives that travel by CID, images made from this machine."""
