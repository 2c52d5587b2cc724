"""Malformed input of every kind, made by code: tables of cases that the real commands must refuse."""
