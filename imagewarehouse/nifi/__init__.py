"""The adapter to NiFi: converts FlowFiles to the core's values, and back. Nothing here imports `nifiapi`."""
