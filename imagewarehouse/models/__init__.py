"""Models: folders of versions, and the classifier that serves one."""
