"""Pictures out of the warehouse: one of them, or thousands for a training."""
