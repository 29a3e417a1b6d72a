"""What `helpers.placement` asks before it plans or loads: the model without its weights, and what cannot work."""
