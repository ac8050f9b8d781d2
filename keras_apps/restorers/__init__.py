"""Restorers: small images, and how many times as large they are to be, to images of that size."""
