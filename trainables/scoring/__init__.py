"""How answers are made and scored, by the project's own metrics and by lm-eval."""
