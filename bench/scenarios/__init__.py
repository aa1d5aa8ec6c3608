"""One module a scenario. Each has a ``QUESTION`` of one line and ``async def run(stage) -> Findings``."""
