"""Delivery of due rows: a loop of claim (lease), send and settle."""
