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
from imagewarehouse.images.decoding import want_pixels
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL, find_version
from imagewarehouse.nifi import adapter, codec
from imagewarehouse.steps.classifying import ClassifyImages, NoModel


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
    EMBEDDING = PropertyDescriptor(
        name="Embedding",
        description="""true: the attribute embedding gets what the model sees in the image, for finding images that look alike:
            up to 128 signed bytes, as base64. A model without it classifies as usual, and a warning says so.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PACKAGES = PropertyDescriptor(
        name="FlowFile Packages",
        description="""true: every FlowFile is a package of images (FlowFile stream v3), as PackageFlowFile makes them, and
            stays one; the record of each image is in the attribute package.records. false: every FlowFile is one image.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )

    SUCCESS = Relationship(name="success", description="Classified images")

    def __init__(self, **kwargs):
        super().__init__()
        self.step = adapter.BuiltOnce(self._load, close=_forget)

    def getPropertyDescriptors(self):
        return [self.MODEL_FOLDER, self.MODEL_VERSION, self.RUNTIME, self.TOP_K, self.EMBEDDING, self.PACKAGES]

    def getRelationships(self):
        return [self.SUCCESS]

    def customValidate(self, context):
        try:
            find_version(_folder(context), adapter.text(context, "Model Version", "latest"))
        except ConfigurationError as err:
            return [ValidationResult(subject=err.setting, explanation=err.problem, valid=False)]
        return []

    def onScheduled(self, context):
        classifier = self.step.renew(context).classifier
        manifest = classifier.manifest
        adapter.log.info(
            "ClassifyImage serves %s version %s with %s", manifest.name, manifest.version, classifier.runtime
        )

    def onStopped(self, context):
        self.step.release()

    def transform(self, context, flowFile):
        try:
            step = self.step.get(context)
        except WarehouseError as err:
            step = NoModel(err)
        return codec.transform(context, flowFile, step, FlowFileTransformResult)

    def _load(self, context):
        embed = adapter.boolean(context, "Embedding")
        classifier = load_classifier(
            _folder(context),
            adapter.text(context, "Model Version", "latest"),
            adapter.text(context, "Runtime", "auto"),
            embed=embed,
        )
        if embed and not classifier.embeds:
            adapter.log.warning(
                "ClassifyImage: Embedding is true, but %s version %s has none; `imagewarehouse model embed` gives it one",
                classifier.manifest.name,
                classifier.manifest.version,
            )
        want_pixels(classifier.manifest.spec)
        return ClassifyImages(classifier, adapter.integer(context, "Top K", 5))


def _forget(step):
    want_pixels(None)


def _folder(context):
    configured = adapter.text(context, "Model Folder")
    return Path(configured) if configured else BUNDLED_MODEL
