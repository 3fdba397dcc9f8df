import json
from pathlib import Path

from nifiapi.documentation import use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import (
    ExpressionLanguageScope,
    PropertyDescriptor,
    ResourceDefinition,
    StandardValidators,
    ValidationResult,
)
from nifiapi.relationship import Relationship

from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.metadata import COLUMNS
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL, find_version
from imagewarehouse.nifi import adapter, batches


@use_case(
    description="Classify images inside the NiFi node, without a model server",
    notes="""Each instance holds one model in memory and one interpreter for each call under way. Concurrent Tasks up to the
        number of cores raise the throughput, because decoding and inference run outside Python's lock.""",
    keywords=["image", "classification", "cnn", "keras", "tensorflow", "litert", "tflite", "machine learning"],
    configuration="""Leave Model Folder empty for the CIFAR-10 demonstration, or set it to a folder <name>/<version>/ with a
        manifest.json of your own model.""",
)
class ClassifyImage(FlowFileTransform):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]

    class ProcessorDetails:
        version = "0.1.0"
        tags = [
            "image",
            "classification",
            "cnn",
            "keras",
            "tensorflow",
            "litert",
            "machine learning",
            "image warehouse",
        ]
        description = """Classifies the image in the content with a Keras or LiteRT model and records the class, its
            probability, the best alternatives, the model's name and version, and the time each step took."""

    MODEL_FOLDER = PropertyDescriptor(
        name="Model Folder",
        description="""Folder of a model with a sub-folder for each version, or one version's folder. Every file is checked
            against the sha256 in its manifest. Empty: the CIFAR-10 model of this bundle.""",
        required=False,
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
        resource_definition=ResourceDefinition(allow_file=False, allow_directory=True),
    )
    MODEL_VERSION = PropertyDescriptor(
        name="Model Version",
        description="Version to serve; latest is the highest number in the folder.",
        required=True,
        default_value="latest",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    RUNTIME = PropertyDescriptor(
        name="Runtime",
        description="auto takes the first runtime in the model's manifest that is installed.",
        required=True,
        default_value="auto",
        allowable_values=["auto", "litert", "tensorflow"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    TOP_K = PropertyDescriptor(
        name="Top K",
        description="How many classes go into top_k.",
        required=True,
        default_value="5",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PACKAGES = PropertyDescriptor(
        name="FlowFile Packages",
        description="""true: every FlowFile is a package of many (FlowFile stream v3), as PackageFlowFile makes them, and stays
            one; what is found of each of them goes into the attribute package.records. false: every FlowFile is one
            image.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )

    SUCCESS = Relationship(name="success", description="Classified images")

    def __init__(self, **kwargs):
        super().__init__()
        self.classifier = adapter.BuiltOnce(self._load)

    def getPropertyDescriptors(self):
        return [self.MODEL_FOLDER, self.MODEL_VERSION, self.RUNTIME, self.TOP_K, self.PACKAGES]

    def getRelationships(self):
        return [self.SUCCESS]

    def customValidate(self, context):
        try:
            find_version(_folder(context), adapter.text(context, "Model Version", "latest"))
        except ConfigurationError as err:
            return [ValidationResult(subject=err.setting, explanation=err.problem, valid=False)]
        return []

    def onScheduled(self, context):
        classifier, _ = self.classifier.renew(context)
        manifest = classifier.manifest
        adapter.log.info(
            "ClassifyImage serves %s version %s with %s", manifest.name, manifest.version, classifier.runtime
        )

    def transform(self, context, flowFile):
        return batches.transform(
            context, flowFile, lambda images: self._classify(context, images), FlowFileTransformResult
        )

    def _classify(self, context, images):
        try:
            classifier, top_k = self.classifier.get(context)
            contents = [(adapter.read_content(image), image.getAttribute("format") or None) for image in images]
            outcomes = classifier.classify_many(contents, top_k)
        except WarehouseError as err:
            classifier, outcomes = None, [err] * len(images)
        return [_result(classifier, *pair) for pair in zip(images, outcomes, strict=True)]

    def _load(self, context):
        classifier = load_classifier(
            _folder(context), adapter.text(context, "Model Version", "latest"), adapter.text(context, "Runtime", "auto")
        )
        return classifier, adapter.integer(context, "Top K", 5)


def _result(classifier, image, outcome):
    if isinstance(outcome, WarehouseError):
        adapter.log.warning("ClassifyImage: request %s: %s", image.getAttribute("request_id"), outcome)
        # Empty, or a sender of FlowFile packages could have chosen them.
        nothing = {column.name: "" for column in COLUMNS if column.stage == "classify"}
        return FlowFileTransformResult(relationship="failure", attributes=nothing | adapter.failed(outcome))
    top = [{"class": label, "probability": round(probability, 6)} for label, probability in outcome.top]
    return FlowFileTransformResult(
        relationship="success",
        attributes={
            "status": "classified",
            "predicted_class": outcome.predicted_class,
            "confidence": f"{outcome.confidence:.6f}",
            "top_k": json.dumps(top),
            "model_name": classifier.manifest.name,
            "model_version": classifier.manifest.version,
            "preprocess_ms": str(outcome.preprocess_ms),
            "inference_ms": str(outcome.inference_ms),
        },
    )


def _folder(context):
    configured = adapter.text(context, "Model Folder")
    return Path(configured) if configured else BUNDLED_MODEL
