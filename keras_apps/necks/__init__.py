"""Necks: maps {"map3", "map4", "map5"} of a backbone -> feature [b, D]; `pooling` is the caller's fact."""
