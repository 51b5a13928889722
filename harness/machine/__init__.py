"""The machine that computes: devices, memory, time, versions."""
