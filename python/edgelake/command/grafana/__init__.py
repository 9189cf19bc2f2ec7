"""The JSON data source of Grafana: what its panels, variables and maps ask for (docs/grafana.md).

``requests`` reads what it sends, ``statements`` makes selects of it, ``results`` has what they found as series and
tables, ``datasource`` puts these together. Source: REST API, section 14.
"""
