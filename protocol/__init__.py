"""What every party must agree on: ids, records, canonical encoding, digests, deal phases. Pure."""
