"""EdgeLake: a data node for the edge."""
