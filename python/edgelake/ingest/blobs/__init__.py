"""Blobs: contents and files that belong to rows, kept by database, table and id.

``names`` says what a blob is called and ``content`` how it is checked; ``folder`` is a place that keeps them, ``blobs``
is all places, ``archiver`` brings contents from where they arrive to where they stay.
Source: spec "Ingestion and storage", section 3.
"""
