"""An asyncio client of an engine process, and the process it may own."""
