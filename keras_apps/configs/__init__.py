"""Configs: <app>/<choice>.py, read by `--config`; the docstring says what to type and what to expect."""
