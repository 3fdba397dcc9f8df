from abc import ABC, abstractmethod


class FlowFileTransform(ABC):
    """Base of a processor that takes one FlowFile and gives one."""

    identifier = None  # set by the host before the first call
    logger = None

    @abstractmethod
    def transform(self, context, flowFile): ...


class FlowFileTransformResult:
    """Where the FlowFile goes, attributes to add to it and, unless None, its new content."""

    def __init__(self, relationship, attributes=None, contents=None):
        # NiFi fails on these when the result crosses to Java; failing here names the processor's own line.
        if not isinstance(relationship, str):
            raise TypeError(f"relationship: expected the name as str, received {type(relationship).__name__}")
        for name, value in (attributes or {}).items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise TypeError(f"attribute {name!r}: expected str, received {type(value).__name__}")
        if contents is not None and not isinstance(contents, (bytes, bytearray, str)):
            raise TypeError(f"contents: expected bytes or str, received {type(contents).__name__}")
        self.relationship = relationship
        self.attributes = attributes
        self.contents = contents.encode() if isinstance(contents, str) else contents

    def getRelationship(self):
        return self.relationship

    def getAttributes(self):
        return self.attributes

    def getContents(self):
        return self.contents
