"""Machines and Ray: what there is, whether it is fit, how it is reached and started."""
