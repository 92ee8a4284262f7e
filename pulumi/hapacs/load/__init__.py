"""Load on a site: made images, senders, a ledger of acknowledged stores, and the check that none is lost."""
