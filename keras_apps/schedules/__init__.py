"""Schedules: (step) -> factor on every optimizer's rate; steps, not epochs."""
