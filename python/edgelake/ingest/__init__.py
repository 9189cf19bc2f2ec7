"""From payload to row: mapping, journal, buffer, writer."""
