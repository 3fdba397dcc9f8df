class Relationship:
    """A named way out of a processor."""

    def __init__(self, name, description, auto_terminated=False):
        self.name = name
        self.description = description
        self.auto_terminated = auto_terminated
