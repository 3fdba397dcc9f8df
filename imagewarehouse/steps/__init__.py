"""The steps of the flow: what is done with an image, without NiFi. Each takes images and gives an outcome for each."""
