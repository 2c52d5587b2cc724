"""Writing a recipe for other tools: one module a tool, each with a function `export`."""
