"""All services of a node: declared once in `table`, and everything that follows from that declaration.

`nodes`
    which services a node runs, how much memory they need, and how it is asked whether they work
`network`
    firewall, the ports that `hapacs verify` tries, and what Prometheus scrapes
`operations`
    order of restarts, what is handed over before, rotation of secrets

All of them read `table.SERVICES` when they are called, so a row that is added there shows everywhere.
"""
