"""Confine what plugins may touch (Linux): each layer in a module of its own."""
