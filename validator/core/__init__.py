"""Pure judgement: no await, no clock, no environment, no I/O; ``now`` is an argument."""
