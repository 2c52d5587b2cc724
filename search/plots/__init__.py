"""The plots of a study: pure functions from what was measured to plotly figures."""
