"""Hosts the Python processors: loads their modules, checks their settings and calls them as strictly as NiFi does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.flows.definition import Component, resolve
from imagewarehouse.nifi.codec import Carried
from imagewarehouse.nifi.processors import processor_class
from imagewarehouse.standalone.engine import Outcome
from imagewarehouse.standalone.expressions import compile_expression
from imagewarehouse.standalone.flowfile import FlowFile, InputFlowFile, requests_in

_IMPLICIT = ("failure", "original")  # NiFi gives these to every FlowFileTransform

log = logging.getLogger("imagewarehouse.standalone")


class PythonProcessor:
    """One processor on the canvas."""

    def __init__(self, component: Component, parameters: Mapping[str, str | None]) -> None:
        """Raises ConfigurationError naming the processor, the property and the parameter behind it."""
        self.component = component
        self.processor = processor_class(component.type)()
        self.processor.identifier = component.identifier
        self.processor.logger = log
        self.relationships = {r.name for r in self.processor.getRelationships()} | set(_IMPLICIT)
        self.context = self._context(parameters)
        self._validate()

    def schedule(self) -> None:
        """Call `onScheduled`. Raises what it raises, named after the processor."""
        if hasattr(self.processor, "onScheduled"):
            try:
                self.processor.onScheduled(self.context)
            except ConfigurationError as err:
                raise ConfigurationError(self.component.setting(err.setting), err.problem) from err
            except WarehouseError as err:
                raise ConfigurationError(self.component.name, str(err)) from err

    def stop(self) -> None:
        if hasattr(self.processor, "onStopped"):
            self.processor.onStopped(self.context)

    def work(self, flow_file: FlowFile) -> Outcome:
        try:
            result = self.processor.transform(self.context, InputFlowFile(flow_file))
        except Exception:
            # As NiFi does: the untouched FlowFile goes to failure and the reason is logged.
            log.exception("%s: %s", self.component.name, requests_in(flow_file))
            return [("failure", flow_file)]
        relationship = result.getRelationship()
        if relationship not in self.relationships or relationship == "original":
            raise ValueError(
                f"{self.component.type} returned the relationship {relationship!r}, which it does not declare"
            )
        contents = None if relationship == "failure" else result.getContents()
        carried: Carried | None = getattr(result, "carried", None)
        if carried is not None and relationship == "failure" and flow_file.carried is not None:
            carried = replace(carried, package=flow_file.carried.package)  # NiFi drops the new content there
        outcome = [(relationship, flow_file.updated(result.getAttributes(), contents, carried))]
        if "original" not in self.component.auto_terminated:
            outcome.append(("original", flow_file))
        return outcome

    def _context(self, parameters: Mapping[str, str | None]) -> Any:
        from nifiapi.properties import ExpressionLanguageScope, ProcessContext, PythonPropertyValue

        descriptors = {d.name: d for d in self.processor.getPropertyDescriptors()}
        unknown = set(self.component.properties) - set(descriptors)
        if unknown and hasattr(self.processor, "getDynamicPropertyDescriptor"):
            descriptors |= {name: self.processor.getDynamicPropertyDescriptor(name) for name in sorted(unknown)}
        elif unknown:
            raise ConfigurationError(self.component.setting(min(unknown)), "the processor has no such property")
        values = {}
        for name, descriptor in descriptors.items():
            value = resolve(self.component.properties.get(name), parameters)
            value = descriptor.defaultValue if value is None else value
            evaluate: Callable[[str, Any], str] | None = None
            if value and descriptor.expressionLanguageScope is not ExpressionLanguageScope.NONE and "${" in value:
                expression = compile_expression(value, self.component.setting(name))
                evaluate = lambda _, flow_file, e=expression: e(flow_file.getAttributes() if flow_file else {})  # noqa: E731
            values[name] = PythonPropertyValue(value, evaluate)
        visible = {n: v for n, v in values.items() if _dependencies_met(descriptors[n], values)}
        return ProcessContext(self.component.name, visible)

    def _validate(self) -> None:
        for descriptor in self.processor.getPropertyDescriptors():
            value = self.context.getProperty(descriptor)
            if value is None:
                continue
            text = value.getValue()
            if text is None or text == "":
                if descriptor.required:
                    raise ConfigurationError(self.component.setting(descriptor.name), "is required")
                continue
            if descriptor.allowableValues and text not in descriptor.allowableValues:
                allowed = ", ".join(descriptor.allowableValues)
                raise ConfigurationError(
                    self.component.setting(descriptor.name), f"expected one of {allowed}, received {text!r}"
                )
            for validator in descriptor.validators:
                problem = validator(text)
                if problem:
                    raise ConfigurationError(self.component.setting(descriptor.name), problem)
        if hasattr(self.processor, "customValidate"):
            for result in self.processor.customValidate(self.context):
                if not result.valid:
                    raise ConfigurationError(self.component.setting(result.subject), result.explanation)


def _dependencies_met(descriptor: Any, values: Mapping[str, Any]) -> bool:
    for dependency in descriptor.dependencies or ():
        value = values[dependency.property_descriptor.name].getValue()
        if value is None or (dependency.dependent_values and value not in dependency.dependent_values):
            return False
    return True
