"""Speed side by side with the tools that others use: one file a row, one JSON line a peer."""
