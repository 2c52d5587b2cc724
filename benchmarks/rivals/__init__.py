"""The same search with public tools alone, beside `recipe-search`: how soon each finds a good recipe."""
