"""Probes: everything that writes into a recording. A probe never imports a view."""
