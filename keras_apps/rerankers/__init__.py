"""Re-rankers: (query [q,D], gallery [N,D]) -> scores [q,N], larger = nearer; NumPy only."""
