"""NiFi's edge: what turns FlowFiles into values of ours, and back. Nothing here imports `nifiapi`."""
