"""Decorators that only document; NiFi reads them from the source."""


class ProcessorConfiguration:
    """How one processor is set up within a use case of several."""

    def __init__(self, processor_type, configuration):
        self.processor_type = processor_type
        self.configuration = configuration


def use_case(description, configuration=None, notes=None, keywords=None):
    return lambda cls: cls


def multi_processor_use_case(description, configurations, notes=None, keywords=None):
    return lambda cls: cls
