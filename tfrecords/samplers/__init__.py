"""Samplers: (table, seed, epoch) -> global index rows [steps, B]; one file each."""
