"""Matchers: how a searched image and one that asks become vectors whose product is the score; `asked`, `offered`."""
