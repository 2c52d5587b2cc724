"""Finalists: the best candidates trained again on new seeds and confirmed on samples not seen before."""
