"""The public API over HTTP: ``/v1``, ``/metrics``, ``/readyz``, ``/openapi.json`` (docs/api.md).

``routes`` has the table of what there is; the document, the checks of parameters and the docs are made of it.
"""
