from nifiapi.documentation import use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import ExpressionLanguageScope, PropertyDescriptor, StandardValidators, ValidationResult
from nifiapi.relationship import Relationship

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.nifi import adapter
from imagewarehouse.search.documents import open_documents


@use_case(
    description="Index each image's record for search",
    notes="The document's id is request_id, so a FlowFile that comes twice leaves one document.",
    keywords=["solr", "search", "index", "image"],
    configuration="Leave Solr URL empty to switch the index off; FlowFiles then leave on the relationship switched off.",
)
class PutSolrDocument(FlowFileTransform):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]

    class ProcessorDetails:
        version = "0.1.0"
        tags = ["solr", "put", "search", "index", "document", "image warehouse"]
        description = """Writes the record in the attributes to Apache Solr. Without an address the index is switched off, and
            every FlowFile leaves on a relationship of its own, so that the canvas shows it."""

    SOLR_URL = PropertyDescriptor(
        name="Solr URL",
        description="""Address of the collection, such as http://solr:8983/solr/images. This release has no Solr client yet:
            leave it empty, and the index is switched off.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )

    SUCCESS = Relationship(name="success", description="The document is in the index")
    RETRY = Relationship(name="retry", description="Solr did not answer: loop it back")
    SWITCHED_OFF = Relationship(name="switched off", description="No address is set; nothing was indexed")

    def __init__(self, **kwargs):
        super().__init__()
        self.documents = adapter.BuiltOnce(self._open)

    def getPropertyDescriptors(self):
        return [self.SOLR_URL]

    def getRelationships(self):
        return [self.SUCCESS, self.RETRY, self.SWITCHED_OFF]

    def customValidate(self, context):
        try:
            self._open(context)
        except ConfigurationError as err:
            return [ValidationResult(subject=err.setting, explanation=err.problem, valid=False)]
        return []

    def onScheduled(self, context):
        if self.documents.renew(context) is None:
            # Off is how it is shipped, so nobody has to be warned of it.
            adapter.log.info("PutSolrDocument: Solr URL is empty, the search index is switched off")

    def transform(self, context, flowFile):
        self.documents.get(context)
        return FlowFileTransformResult(relationship="switched off")

    def _open(self, context):
        return open_documents(adapter.text(context, "Solr URL"))
