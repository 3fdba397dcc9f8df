import re
from enum import Enum


class ExpressionLanguageScope(Enum):
    NONE = 1
    ENVIRONMENT = 2
    FLOWFILE_ATTRIBUTES = 3


def _number(low=None, high=None, kind=int):
    def check(text):
        try:
            value = kind(text)
        except ValueError:
            return f"{text!r} is not {'a whole number' if kind is int else 'a number'}"
        if low is not None and value < low:
            return f"{text!r} is less than {low}"
        if high is not None and value > high:
            return f"{text!r} is more than {high}"
        return None

    return check


def _matches(pattern, what):
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda text: None if compiled.fullmatch(text.strip()) else f"{text!r} is not {what}"


def _regular_expression(text):
    try:
        re.compile(text)
    except re.error as err:
        return f"{text!r} is not a regular expression: {err}"
    return None


class StandardValidators:
    """Each is a function from the value to None or the reason why it is wrong."""

    ALWAYS_VALID = staticmethod(lambda text: None)
    NON_EMPTY_VALIDATOR = staticmethod(lambda text: None if text else "is empty")
    NON_EMPTY_EL_VALIDATOR = NON_EMPTY_VALIDATOR
    INTEGER_VALIDATOR = staticmethod(_number())
    LONG_VALIDATOR = INTEGER_VALIDATOR
    POSITIVE_INTEGER_VALIDATOR = staticmethod(_number(1, 2**31 - 1))
    POSITIVE_LONG_VALIDATOR = staticmethod(_number(1, 2**63 - 1))
    NON_NEGATIVE_INTEGER_VALIDATOR = staticmethod(_number(0, 2**31 - 1))
    NUMBER_VALIDATOR = staticmethod(_number(kind=float))
    PORT_VALIDATOR = staticmethod(_number(1, 65535))
    BOOLEAN_VALIDATOR = staticmethod(_matches("true|false", "true or false"))
    DATA_SIZE_VALIDATOR = staticmethod(_matches(r"\d+(\.\d+)?\s*(B|KB|MB|GB|TB)", "a size such as 20 MB"))
    TIME_PERIOD_VALIDATOR = staticmethod(
        _matches(r"\d+(\.\d+)?\s*(ns|nanos|us|micros|ms|millis?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)",
                 "a time such as 30 sec")
    )  # fmt: skip
    URI_VALIDATOR = staticmethod(_matches(r"\S+", "a URI"))
    URL_VALIDATOR = staticmethod(_matches(r"[a-z][a-z0-9+.-]*://\S+", "a URL"))
    HOSTNAME_PORT_LIST_VALIDATOR = staticmethod(_matches(r"[^\s,:]+:\d+(\s*,\s*[^\s,:]+:\d+)*", "a list of host:port"))
    REGULAR_EXPRESSION_VALIDATOR = staticmethod(_regular_expression)


class PropertyDependency:
    """A property that is only there while another has (one of) the values."""

    def __init__(self, property_descriptor, *dependent_values):
        self.property_descriptor = property_descriptor
        self.dependent_values = dependent_values


class ResourceDefinition:
    """What a property that names a resource may name."""

    def __init__(self, allow_multiple=False, allow_file=True, allow_url=False, allow_directory=False, allow_text=False):
        self.allow_multiple = allow_multiple
        self.allow_file = allow_file
        self.allow_url = allow_url
        self.allow_directory = allow_directory
        self.allow_text = allow_text


class PropertyDescriptor:
    """One setting of a processor. Attribute names are NiFi's."""

    def __init__(self, name, description, required=False, sensitive=False, display_name=None, default_value=None,
                 allowable_values=None, dependencies=None, expression_language_scope=ExpressionLanguageScope.NONE,
                 dynamic=False, validators=None, resource_definition=None, controller_service_definition=None):  # fmt: skip
        if default_value is not None and not isinstance(default_value, str):
            raise TypeError(f"{name}: expected its default as str, received {type(default_value).__name__}")
        self.name = name
        self.description = description
        self.required = required
        self.sensitive = sensitive
        self.displayName = display_name
        self.defaultValue = default_value
        self.allowableValues = allowable_values
        self.dependencies = dependencies
        self.expressionLanguageScope = expression_language_scope
        self.dynamic = dynamic
        self.validators = validators or [StandardValidators.ALWAYS_VALID]
        self.resourceDefinition = resource_definition
        self.controllerServiceDefinition = controller_service_definition


class ValidationResult:
    """One finding of `customValidate`."""

    def __init__(self, subject="", explanation="", valid=False, input=None):
        self.subject = subject
        self.explanation = explanation
        self.valid = valid
        self.input = input


class PythonPropertyValue:
    """A property's value as a processor sees it."""

    def __init__(self, value, evaluate=None):
        self.value = value
        self._evaluate = evaluate

    def getValue(self):
        return self.value

    def isSet(self):
        return self.value is not None

    def asInteger(self):
        return None if self.value is None else int(self.value)

    def asFloat(self):
        return None if self.value is None else float(self.value)

    def asBoolean(self):
        return None if self.value is None else self.value.lower() == "true"

    def evaluateAttributeExpressions(self, attributeMap=None):
        if self._evaluate is None or self.value is None:
            return self
        return PythonPropertyValue(self._evaluate(self.value, attributeMap))


class ProcessContext:
    """The properties of one processor, defaults filled in; hidden ones (unmet dependencies) are absent."""

    def __init__(self, name, values):
        self.name = name
        self._values = values

    def getName(self):
        return self.name

    def getProperty(self, descriptor):
        return self._values.get(descriptor if isinstance(descriptor, str) else descriptor.name)

    def getProperties(self):
        return {name: value.getValue() for name, value in self._values.items()}
