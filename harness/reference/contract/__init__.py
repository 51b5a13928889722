"""The contract of a method: what the harness relies on, as properties that can be checked one by one."""
