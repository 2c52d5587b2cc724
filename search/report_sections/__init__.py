"""Sections of the report: pure functions from what was measured to the rows and texts of the page."""
