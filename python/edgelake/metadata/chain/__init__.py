"""Policies in a contract of an Ethereum network (spec: metadata, section 12).

``options`` and ``mirror`` need no chain library; everything else is imported by ``connect`` when it is wanted, since
web3 takes a second to load and is an extra of the package.
"""
